"""Which of root's powers a box keeps, as the kernel's bit masks. Imports nothing: the zygote's children load it.

Docker's default set less three: MKNOD (a box has its devices already), NET_RAW (ping works without, see enter.py) and
AUDIT_WRITE. Everything else that a root of a file system of its own does is there: chown, setuid, low ports, kill.
"""

from __future__ import annotations

_IN_ORDER = """
chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin
sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore
"""
NAMES = tuple(_IN_ORDER.split())
"""In the kernel's order: the position is the number. A newer kernel may know more; those are dropped too."""


def mask(*names: str) -> int:
    """The set as the kernel writes it. An unknown name is a ValueError, never silence."""
    return sum(1 << NAMES.index(name) for name in set(names))


DEFAULT = mask(
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "net_bind_service",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
)

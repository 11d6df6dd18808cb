"""System calls that a box must not be able to make, each first made outside so that a refusal means something."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.escape.conftest import Attempt

pytestmark = pytest.mark.machine

REFUSED = frozenset({"EPERM"})
UNHEARD_OF = frozenset({"ENOSYS"})
KILLED = frozenset({f"exit {128 + 31}"})
"""SIGSYS."""


class Case(NamedTuple):
    """`outside` is what the attempt gives the host's root: "ok", or the error of arguments that no kernel accepts.

    A call that this kernel was built without is ENOSYS outside; then it shows nothing, and inside it must be no more.
    """

    name: str
    argument: str = ""
    outside: str = "ok"
    inside: frozenset[str] = REFUSED


MOUNTS = [
    Case("mount_tmpfs"),
    Case("mount_proc"),
    Case("bind_mount"),
    Case("unmount", "/proc"),
    Case("unmount", "/proc/sys", outside="EINVAL"),
    Case("unmount", "/proc/keys", outside="EINVAL"),
    Case("remount", "/proc"),
    Case("remount", "/sys"),
    Case("remount", "/proc/sys", outside="EINVAL"),
    Case("fsopen_tmpfs"),
    Case("open_tree_clone"),
    Case("mount_setattr_root"),
    Case("pivot", outside="EBUSY"),
]
NAMESPACES = [
    Case("unshare_user"),
    Case("unshare_mounts"),
    Case("unshare_cgroup"),
    Case("clone_user"),
    Case("clone_pid"),
    Case("clone3_user", inside=UNHEARD_OF),
    Case("setns_own"),
    Case("hostname"),
    Case("domainname"),
]
PROCESSES = [
    Case("ptrace_parent"),
    Case("read_parent", "1000"),
    Case("compare_parent"),
    Case("steal_descriptor"),
    Case("realtime"),
    Case("regain_capabilities"),
]
SURFACE = [
    Case("get_keyring"),
    Case("add_a_key"),
    Case("bpf_map"),
    Case("perf"),
    Case("io_uring"),
    Case("user_faults"),
    Case("fanotify"),
    Case("memory_policy"),
    Case("read_kernel_log"),
    Case("file_handle", "/dev/shm"),
    Case("tiocsti"),
    Case("tiocsti_high_bits"),
    Case("tioclinux", outside="ENOTTY"),
    Case("no_randomisation"),
    Case("readable_is_executable"),
    Case("unknown_call", outside="ENOSYS", inside=UNHEARD_OF),
]
SOCKETS = [
    Case("open_socket", "2/3/1"),  # raw ICMP
    Case("open_socket", "17/3/0"),  # raw packets
    Case("open_socket", "38/5/0"),  # AF_ALG: the kernel's cryptography
    Case("open_socket", "40/1/0"),  # AF_VSOCK: the hypervisor
    Case("open_socket", "29/3/1"),  # AF_CAN
    Case("open_socket", "31/3/1"),  # AF_BLUETOOTH
    Case("open_socket", "15/3/2"),  # AF_KEY
    Case("open_socket", "44/3/0"),  # AF_XDP
    Case("open_socket", "30/1/0"),  # AF_TIPC
]
MACHINE = [
    Case("restart", outside="EINVAL"),
    Case("kexec", outside="EINVAL"),
    Case("kexec_file", outside="EINVAL"),
    Case("set_clock", outside="EINVAL"),
    Case("set_time", outside="EINVAL"),
    Case("tune_clock", outside="EINVAL"),
    Case("load_module", outside="EFAULT"),
    Case("load_module_file", outside="EBADF"),
    Case("unload_module", outside="ENOENT"),
    Case("swap_on", outside="ENOENT"),
    Case("swap_off", outside="ENOENT"),
    Case("accounting", outside="ENOENT"),
    Case("quota", outside="EINVAL"),
]
_DISK = Path("/").stat().st_dev
NODES = [
    Case("make_node", f"60000/{os.major(_DISK)}/{os.minor(_DISK)}"),  # the host's disk
    Case("make_node", "20000/1/1"),  # its memory
    Case("make_node", "20000/1/11"),  # its kernel log
]
X86 = [
    Case("x32_getpid", outside="ENOSYS", inside=UNHEARD_OF),
    Case("i386_getpid", inside=KILLED),
    Case("raw_ports"),
    Case("one_raw_port"),
    Case("segments"),
]
CASES = [*MOUNTS, *NAMESPACES, *PROCESSES, *SURFACE, *SOCKETS, *MACHINE, *NODES]
CASES += X86 if os.uname().machine == "x86_64" else []


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case[:2]).strip().replace("/", "."))
def test_a_call_is_possible_outside_and_refused_inside(case: Case, outside: Attempt, inside: Attempt) -> None:
    not_built_in = {"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT"}
    assert outside(case.name, case.argument) in {case.outside, *not_built_in}
    assert inside(case.name, case.argument) in case.inside


def test_what_root_of_a_box_needs_is_still_allowed(inside: Attempt) -> None:
    """Else the refusals above could be those of a box in which nothing works."""
    assert inside("is_root") == "ok"
    assert inside("read_a_byte", "/etc/passwd") == "ok"
    assert inside("make_folder", "/tmp/x") == "ok"
    for families in ("1/1/0", "2/1/0", "2/2/0", "10/1/0", "16/3/0", "2/2/1"):  # the last: an echo socket
        assert inside("open_socket", families) == "ok", families

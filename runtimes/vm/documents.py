"""What is kept of how a box was started: for people who ask why a number is what it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from runtimes.vm import kernel
from runtimes.vm.domain import Boot, Machine

_SHARED_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
_ON_DISK = "vmlinuz on the box's own disk, which unpacks itself inside the guest"
_KSM_RUN = Path("/sys/kernel/mm/ksm/run")


def documents(machine: Machine, xml: str, pid: int) -> Mapping[str, str]:
    """The QEMU command line is the kernel's own record of it, so it is missing once the box has ended."""
    profile = machine.profile
    texts = {
        "domain.xml": xml,
        "machine": f"{profile.name}: {profile.machine}, firmware {profile.firmware}\n",
        "kernel": f"{machine.boot.kernel_release}\n{_form(machine.boot.kernel)}\n",
        "kernel command line": f"{machine.boot.command_line}\n",
        "disk": _disk(machine.boot),
        "memory": _memory(pid),
        "threads": _threads(pid),
    }
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        line = [os.fsdecode(word) for word in words]
        texts["qemu command line"] = " ".join(line) + "\n"
        texts["devices"] = "".join(f"{value}\n" for option, value in pairwise(line) if option == "-device")
    return texts


def _disk(boot: Boot) -> str:
    if boot.lower:
        return f"{boot.lower.name}, read-only, below an overlay file system that writes to the box's own disk\n"
    return f"{boot.base.path.name} ({boot.base.format}), below the box's own qcow2\n"


def _form(path: Path | None) -> str:
    return kernel.form(path) if path else _ON_DISK


def _threads(pid: int) -> str:
    """On which CPUs each of QEMU's threads may run: virtual CPUs, and those that serve them."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):
            name = (task / "comm").read_text().strip()
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            lines.append(f"{name}: CPUs {status['Cpus_allowed_list']}\n")
    return "".join(lines)


def _memory(pid: int) -> str:
    """What decides how much of the guest's memory is resident on this host."""
    merging = _word(Path(f"/proc/{pid}/ksm_merging_pages"))
    return (
        "the guest's memory is a shared memory file (memfd) of its own\n"
        "balloon: none\n"
        f"huge pages for shared memory: {_word(_SHARED_HUGE_PAGES)}\n"
        f"KSM: run {_word(_KSM_RUN)}, pages of this box merged: {merging}\n"
    )


def _word(path: Path) -> str:
    """A setting as the kernel prints it; of several, the chosen one."""
    try:
        text = path.read_text().strip()
    except OSError:
        return "unknown"
    return text.partition("[")[2].partition("]")[0] if "[" in text else text

"""The systems the copied table is usually printed beside, and what each of them is to this report.

A row says whether a run measured it; where it did not, why: its driver found it missing, there is no driver for it
yet, or it needs another operating system than Linux.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.tidy import Tidy


@dataclass(frozen=True, slots=True)
class System:
    """`runtimes` are the names under which it would be measured."""

    name: str
    what: str
    runtimes: tuple[str, ...] = ()
    elsewhere: str = ""


_PROFILES = ("", "-micro", "-full", "-bios")
_HARDWARE, _EMULATED = (tuple(f"{name}{profile}" for profile in _PROFILES) for name in ("kvm", "tcg"))
NO_DRIVER = "no driver in this version"
SYSTEMS = (
    System("Namespaces and cgroups", "what the kernel offers to make a container", ("container",)),
    System("libcontainer, runC, OCI", "the low-level engine and its standards for images and boxes", ("runc", "crun")),
    System("Docker", "client, daemon, image, Dockerfile, registry, container lifecycle", ("docker",)),
    System("LXC", "system containers, the engine of Docker's first versions", ("lxc",)),
    System("KVM", "hardware virtualization in the Linux kernel", _HARDWARE),
    System("QEMU", "the machine around it; alone, an emulator", (*_HARDWARE, *_EMULATED)),
    System("VirtualBox", "desktop virtualization", ("vbox",), "needs its own kernel modules"),
    System("VMware", "desktop and server virtualization", ("vmware",), "needs its own software"),
    System("Hyper-V", "virtualization in Windows", (), "does not run on Linux"),
    System("HyperKit", "virtualization in macOS", (), "does not run on Linux"),
)


def systems(tidy: Tidy) -> Sequence[tuple[System, str]]:
    """Every system with how it stands in these runs."""
    measured = set(tidy.samples["runtime"].unique())
    return [(system, _standing(tidy, system, measured)) for system in SYSTEMS]


def _standing(tidy: Tidy, system: System, measured: set[str]) -> str:
    found = [name for name in system.runtimes if name in measured]
    if found:
        return f"measured as {', '.join(found)}"
    supports = [run.supports[name] for run in tidy.runs for name in system.runtimes if name in run.supports]
    reasons = [support.reason for support in supports if not support.available and support.reason]
    if reasons:
        return f"not measured: {reasons[0]}"
    return "not asked for" if supports else system.elsewhere or NO_DRIVER

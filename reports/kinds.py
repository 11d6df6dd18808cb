"""What the boxes are, in a few words, for readers who have never heard their names.

A runtime from elsewhere brings no words of its own, and none are made up for it.
"""

from __future__ import annotations

from collections.abc import Iterable

_KINDS = {
    "native": "a plain process: no box at all",
    "container": "Tare's own container: namespaces, cgroups, filters",
    "kvm": "virtual machine on hardware, its kernel started directly",
    "kvm-micro": "the least virtual machine QEMU offers, on hardware",
    "kvm-full": "virtual machine on hardware with firmware, boot loader, disk",
    "kvm-bios": "virtual machine on hardware with BIOS, GRUB, disk",
    "tcg": "emulated virtual machine, its kernel started directly",
    "tcg-micro": "the least virtual machine QEMU offers, emulated",
    "tcg-full": "emulated virtual machine with firmware, boot loader, disk",
    "tcg-bios": "emulated virtual machine with BIOS, GRUB, disk",
    "runc": "the reference engine for OCI containers",
    "crun": "an OCI engine written in C",
    "docker": "containers through Docker's daemon",
    "podman": "containers through Podman, without a daemon",
    "lxc": "system containers",
    "nspawn": "systemd's own containers",
}


def kinds(names: Iterable[str]) -> list[tuple[str, str]]:
    """Name and meaning of those that are known, in the order given."""
    return [(name, _KINDS[name]) for name in names if name in _KINDS]

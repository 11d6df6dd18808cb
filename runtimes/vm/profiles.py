"""The kinds of machine a guest can get. Each is a runtime of its own, so that each is probed, shown and compared.

direct   what a cloud's virtual machine looks like, without its firmware and boot loader: q35, PCI, kernel handed over
micro    the least that QEMU has: microvm, no PCI, no firmware tables but ACPI's, virtio devices in plain memory
full     what people call a virtual machine: UEFI firmware starts a boot loader from a partitioned disk, that starts the
         kernel, and where the image has systemd, systemd starts everything
bios     the same as it was before UEFI, and still is by most tools' defaults: SeaBIOS and GRUB
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtimes.vm import grub, uefi
from runtimes.vm.bootdisk import Loader

_FIRST_SLOT, _LAST_SLOT = 2, 30

_POWER_BUTTON = ("button", "evdev")
"""What a guest hears its ACPI power button by. The others do not pay for it: nobody inside would listen."""

Address = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is emulated around the CPU. `machine` is QEMU's word; `modules` are what the guest needs to see its devices.

    `firmware`: what runs first, in words. `pci`: devices sit on a PCI bus; otherwise the guest finds them in memory,
    where ACPI says. `loader` starts the kernel from the box's own disk; without one it comes from the host's hand.
    """

    name: str
    machine: str
    firmware: str
    pci: bool
    modules: tuple[str, ...]
    loader: Loader | None = None
    least_bytes: int = 0
    """Memory below which firmware or boot loader do not get as far as the kernel's first process."""

    @property
    def from_disk(self) -> bool:
        return self.loader is not None

    def addresses(self) -> Iterator[Address]:
        """Where libvirt is to put one virtio device after the other.

        On the root bus of PCI: libvirt would put each behind a root port, which the guest has to enumerate.
        """
        for slot in range(_FIRST_SLOT, _LAST_SLOT + 1):
            yield _pci(slot) if self.pci else {"type": "virtio-mmio"}

    def runtime(self, accelerator: str) -> str:
        """What the runtime of this profile is called: the usual one bears the accelerator's name alone."""
        return accelerator if self is DIRECT else f"{accelerator}-{self.name}"


DIRECT = Profile(
    name="direct",
    machine="q35",
    firmware="SeaBIOS, which enters the kernel",
    pci=True,
    modules=("virtio_pci", "virtio_console", "virtio_blk"),
)
MICRO = Profile(
    name="micro",
    machine="microvm",
    firmware="QEMU's own for this machine (on Debian qboot), which enters the kernel",
    pci=False,
    modules=("virtio_mmio", "virtio_console", "virtio_blk"),
)
FULL = Profile(
    name="full",
    machine="q35",
    firmware="OVMF (UEFI), which starts systemd-boot from the disk, which starts the kernel",
    pci=True,
    modules=("virtio_pci", "virtio_console", "virtio_blk", *_POWER_BUTTON),
    loader=uefi.LOADER,
    least_bytes=160 << 20,
)
BIOS = Profile(
    name="bios",
    machine="q35",
    firmware="SeaBIOS, which starts GRUB from the disk, which starts the kernel",
    pci=True,
    modules=FULL.modules,
    loader=grub.LOADER,
    least_bytes=96 << 20,
)


def _pci(slot: int) -> Address:
    return {"type": "pci", "domain": "0x0000", "bus": "0x00", "slot": f"0x{slot:02x}", "function": "0x0"}

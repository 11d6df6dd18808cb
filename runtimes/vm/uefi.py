"""UEFI: OVMF starts systemd-boot from the EFI system partition, and that the kernel beside it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from runtimes.vm import bootdisk
from runtimes.vm.bootdisk import Firmware, Loaded, Loader, Partition

_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
_SYSTEMD_BOOT = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
_ENTRY = "title Tare\nlinux /vmlinuz\ninitrd /initrd\noptions {command_line}\n"


def _partitions(scratch: Path, loaded: Loaded) -> Sequence[Partition]:
    """What firmware finds without being told, and starts."""
    tree = scratch / "tree"
    (tree / "EFI" / "BOOT").mkdir(parents=True)
    (tree / "loader" / "entries").mkdir(parents=True)
    shutil.copyfile(_SYSTEMD_BOOT, tree / "EFI" / "BOOT" / "BOOTX64.EFI")
    shutil.copyfile(loaded.kernel.path, tree / "vmlinuz")
    (tree / "initrd").write_bytes(loaded.initrd)
    (tree / "loader" / "loader.conf").write_text("timeout 0\n")
    (tree / "loader" / "entries" / "tare.conf").write_text(_ENTRY.format(command_line=loaded.command_line))
    return (Partition("boot", "U", bootdisk.fat(tree, scratch / "esp.fat")),)


LOADER = Loader(
    name="uefi",
    recipe=_ENTRY,
    files={_SYSTEMD_BOOT: "systemd-boot-efi", _CODE: "ovmf", _VARIABLES: "ovmf"},
    programs={},
    root_number=2,
    partitions=_partitions,
    firmware=Firmware(_CODE, _VARIABLES),
)

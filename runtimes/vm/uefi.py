"""A disk that firmware boots: GPT, a partition with boot loader, kernel and initrd, and one with the image.

Made without loop devices and mounts: the file systems are made as files or at their place in one, and filled by the
programs that make them. Everything that could differ from one time to the next is fixed.

    1 MiB  partition table · EFI system partition (FAT: systemd-boot, kernel, initrd) · root (ext4) · 1 MiB its copy
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness import paths, proc
from harness.errors import Unsupported
from harness.model import Image, Kernel
from runtimes.vm import disk

CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
"""The firmware, and what it remembers: each box gets a copy of its own."""

_LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
_NEEDED = {CODE: "ovmf", VARIABLES: "ovmf", _LOADER: "systemd-boot-efi"}
_PROGRAMS = {"mkfs.vfat": "dosfstools", "mcopy": "mtools", "sfdisk": "fdisk"}
_PROGRAM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_MIB = 1 << 20
_ESP_HEADROOM_BYTES = 8 * _MIB
_SERIAL = "74617265"
_TIME_S = 315_532_800
"""1980, when FAT's time begins."""
_TABLE = """\
label: gpt
label-id: 74617265-0000-4000-8000-000000000002
start={esp_start}, size={esp_size}, type=U, uuid=74617265-0000-4000-8000-000000000003, name=boot
start={root_start}, size={root_size}, type=L, uuid=74617265-0000-4000-8000-000000000004, name=root
"""
_ENTRY = "title Tare\nlinux /vmlinuz\ninitrd /initrd\noptions {command_line}\n"
COMMAND_LINE = "quiet console=ttyS0 panic=-1 tare_root=/dev/vda2"
"""What the boot loader tells the kernel: what a distribution would, and where init.sh finds the root."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the boot loader starts."""

    kernel: Kernel
    initrd: bytes
    command_line: str


def check() -> None:
    """Unsupported, with the packages to install, when something to make or boot such a disk is not here."""
    missing = {package for path, package in _NEEDED.items() if not path.exists()}
    missing |= {package for program, package in _PROGRAMS.items() if not shutil.which(program, path=_PROGRAM_PATH)}
    if missing:
        names = " ".join(sorted(missing))
        raise Unsupported(f"parts of a UEFI virtual machine are missing: {names}", hint=f"apt-get install {names}")


def base(store: Path, image: Image, loaded: Loaded) -> Path:
    """The image's disk with that to boot, made on first use."""
    own = (hashlib.sha256(data).hexdigest() for data in (loaded.initrd, _LOADER.read_bytes()))
    parts = (image.digest, loaded.kernel.digest, *own, loaded.command_line, _TABLE, _ENTRY)
    folder = store / "vm" / "disks" / f"uefi-{hashlib.sha256(repr(parts).encode()).hexdigest()}"
    target = folder / "disk.gpt"
    if not target.exists():
        with paths.whole_or_nothing(folder) as draft:
            _make(draft / target.name, Path(image.root), loaded)
    return target


def _make(target: Path, tree: Path, loaded: Loaded) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        esp = _make_esp(Path(scratch), loaded)
        esp_bytes, root_bytes = esp.stat().st_size, disk.ext4_bytes(tree)
        root_start = _MIB + esp_bytes
        with target.open("wb") as file:
            file.truncate(root_start + root_bytes + _MIB)
        table = _TABLE.format(
            esp_start=_MIB // 512, esp_size=esp_bytes // 512, root_start=root_start // 512, root_size=root_bytes // 512
        )
        script = Path(scratch) / "table"
        script.write_text(table)
        proc.run(["sh", "-c", 'exec sfdisk -q "$1" <"$2"', "sfdisk", str(target), str(script)], hint=_hint("fdisk"))
        disk.fill_ext4(tree, target, root_bytes, offset_bytes=root_start)
        with target.open("r+b") as file, esp.open("rb") as source:
            file.seek(_MIB)
            shutil.copyfileobj(source, file)


def _make_esp(scratch: Path, loaded: Loaded) -> Path:
    """The EFI system partition: what firmware finds without being told, and starts."""
    tree, esp = scratch / "tree", scratch / "esp.fat"
    (tree / "EFI" / "BOOT").mkdir(parents=True)
    (tree / "loader" / "entries").mkdir(parents=True)
    shutil.copyfile(_LOADER, tree / "EFI" / "BOOT" / "BOOTX64.EFI")
    shutil.copyfile(loaded.kernel.path, tree / "vmlinuz")
    (tree / "initrd").write_bytes(loaded.initrd)
    (tree / "loader" / "loader.conf").write_text("timeout 0\n")
    (tree / "loader" / "entries" / "tare.conf").write_text(_ENTRY.format(command_line=loaded.command_line))
    for path in tree.rglob("*"):
        os.utime(path, (_TIME_S, _TIME_S))
    used_bytes = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    size_bytes = used_bytes + _ESP_HEADROOM_BYTES
    with esp.open("wb") as file:
        file.truncate(size_bytes + -size_bytes % _MIB)
    proc.run(["mkfs.vfat", "--invariant", "-i", _SERIAL, "-n", "BOOT", str(esp)], hint=_hint("dosfstools"))
    entries = sorted(str(path) for path in tree.iterdir())
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(_TIME_S), "TZ": "UTC"}
    proc.run(["mcopy", "-s", "-m", "-i", str(esp), *entries, "::"], env=env, hint=_hint("mtools"))
    return esp


def _hint(package: str) -> str:
    return f"apt-get install {package}"

"""A disk that firmware boots: GPT, partitions with boot loader, kernel and initrd, and one with the image.

Made without loop devices and mounts: the file systems are made as files or at their place in one, and filled by the
programs that make them. Everything that could differ from one time to the next is fixed.

    1 MiB  partition table · what the boot loader needs · root (ext4) · 1 MiB  the table's copy
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import paths, proc
from harness.errors import Unsupported
from harness.model import Image, Kernel
from runtimes.vm import disk

SECTOR = 512
MIB = 1 << 20
_PROGRAMS = {"mkfs.vfat": "dosfstools", "mcopy": "mtools", "sfdisk": "fdisk"}
_PROGRAM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_FAT_HEADROOM_BYTES = 8 * MIB
_SERIAL = "74617265"
_TIME_S = 315_532_800
"""1980, when FAT's time begins."""
_HEADER = "label: gpt\nlabel-id: 74617265-0000-4000-8000-000000000002\n"
_PARTITION = (
    "start={start}, size={size}, type={type}, uuid=74617265-0000-4000-8000-0000000001{number:02}, name={name}\n"
)
COMMAND_LINE = "quiet console=ttyS0 panic=-1"
"""What a boot loader tells the kernel: what a distribution would."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the boot loader starts."""

    kernel: Kernel
    initrd: bytes
    command_line: str


@dataclass(frozen=True, slots=True)
class Partition:
    """`type` is sfdisk's word or a GUID; the file is whole MiB long."""

    name: str
    type: str
    content: Path


@dataclass(frozen=True, slots=True)
class Firmware:
    """UEFI's code, and what it remembers: each box gets a copy of its own."""

    code: Path
    variables: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A boot loader: what it is made of and what it wants on the disk.

    `files` and `programs` map what must be on this host to the package that brings it. `partitions` are made in a
    folder; `install` then gets the disk and where each begins, in sectors. The image's partition comes after them.
    """

    name: str
    recipe: str
    """What it is told, before names are filled in: another recipe is another disk."""
    files: Mapping[Path, str]
    programs: Mapping[str, str]
    root_number: int
    partitions: Callable[[Path, Loaded], Sequence[Partition]]
    install: Callable[[Path, Sequence[int]], None] = field(default=lambda disk, starts: None)
    firmware: Firmware | None = None
    """What starts it, where that is not what the machine has by itself."""

    @property
    def command_line(self) -> str:
        return f"{COMMAND_LINE} tare_root=/dev/vda{self.root_number}"

    def check(self) -> None:
        """Unsupported, with the packages to install, when something to make or boot such a disk is not here."""
        programs = {**_PROGRAMS, **self.programs}
        missing = {package for path, package in self.files.items() if not path.exists()}
        missing |= {package for program, package in programs.items() if not shutil.which(program, path=_PROGRAM_PATH)}
        if missing:
            names = " ".join(sorted(missing))
            raise Unsupported(
                f"parts of a virtual machine that boots from a disk are missing: {names}",
                hint=f"apt-get install {names}",
            )


def base(store: Path, image: Image, loader: Loader, loaded: Loaded) -> Path:
    """The image's disk with that to boot, made on first use. A new boot loader is a new disk."""
    own = [hashlib.sha256(path.read_bytes()).hexdigest() for path in loader.files]
    initrd = hashlib.sha256(loaded.initrd).hexdigest()
    parts = (image.digest, loaded.kernel.digest, initrd, *own, loaded.command_line, loader.recipe, _HEADER, _PARTITION)
    folder = store / "vm" / "disks" / f"{loader.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()}"
    target = folder / "disk.gpt"
    if not target.exists():
        with paths.whole_or_nothing(folder) as draft:
            _make(draft / target.name, Path(image.root), loader, loaded)
    return target


def _make(target: Path, tree: Path, loader: Loader, loaded: Loaded) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        partitions = loader.partitions(Path(scratch), loaded)
        root_bytes, root_start = disk.ext4_bytes(tree), MIB
        starts, table = [], _HEADER
        for number, one in enumerate(partitions, start=1):
            starts.append(root_start // SECTOR)
            table += _line(number, one.name, one.type, root_start, one.content.stat().st_size)
            root_start += one.content.stat().st_size
        table += _line(loader.root_number, "root", "L", root_start, root_bytes)
        with target.open("wb") as file:
            file.truncate(root_start + root_bytes + MIB)
        script = Path(scratch) / "table"
        script.write_text(table)
        proc.run(["sh", "-c", 'exec sfdisk -q "$1" <"$2"', "sfdisk", str(target), str(script)], hint=_hint("fdisk"))
        disk.fill_ext4(tree, target, root_bytes, offset_bytes=root_start)
        with target.open("r+b") as file:
            for start, one in zip(starts, partitions, strict=True):
                file.seek(start * SECTOR)
                with one.content.open("rb") as source:
                    shutil.copyfileobj(source, file)
        loader.install(target, starts)


def _line(number: int, name: str, kind: str, start_bytes: int, size_bytes: int) -> str:
    start, size = start_bytes // SECTOR, size_bytes // SECTOR
    return _PARTITION.format(number=number, name=name, type=kind, start=start, size=size)


def fat(tree: Path, target: Path) -> Path:
    """A FAT file system that holds what is in the folder."""
    for path in tree.rglob("*"):
        os.utime(path, (_TIME_S, _TIME_S))
    used_bytes = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    size_bytes = used_bytes + _FAT_HEADROOM_BYTES
    with target.open("wb") as file:
        file.truncate(size_bytes + -size_bytes % MIB)
    proc.run(["mkfs.vfat", "--invariant", "-i", _SERIAL, "-n", "BOOT", str(target)], hint=_hint("dosfstools"))
    entries = sorted(str(path) for path in tree.iterdir())
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(_TIME_S), "TZ": "UTC"}
    proc.run(["mcopy", "-s", "-m", "-i", str(target), *entries, "::"], env=env, hint=_hint("mtools"))
    return target


def _hint(package: str) -> str:
    return f"apt-get install {package}"

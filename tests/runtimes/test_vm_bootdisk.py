"""The disks that firmware boots: what is on them, and that they are made the same way every time."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness import proc
from harness.errors import Unsupported, UsageError
from harness.model import Image, Kernel
from runtimes.vm import bootdisk, grub, uefi
from runtimes.vm.bootdisk import SECTOR, Loaded, Loader

WORDS = "quiet tare_root=/dev/vda2"
loaders = pytest.mark.parametrize("loader", [uefi.LOADER, grub.LOADER], ids=lambda loader: loader.name)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "name").write_text("tiny\n")
    for path in (root / "etc" / "name", root / "etc", root):
        os.utime(path, (2_000_000_000, 1_000_000_000))  # that reading it leaves no trace in it
    return Image(name="tiny", digest="sha256:1", content_digest="", content_bytes=0, layers=(), root=str(root))


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "vmlinuz").write_bytes(b"a kernel")
    kernel = Kernel(version="6.1", path=str(tmp_path / "vmlinuz"), modules="", digest="sha256:2")
    return Loaded(kernel, b"an initrd", WORDS)


def partitions(disk: Path) -> list[tuple[int, int]]:
    """Where each begins and how long it is, in bytes."""
    lines = [line for line in proc.run(["sfdisk", "--dump", str(disk)]).splitlines() if "start=" in line]
    fields = [dict(word.strip().split("=") for word in line.partition(" : ")[2].split(",")[:2]) for line in lines]
    return [(int(one["start"]) * SECTOR, int(one["size"]) * SECTOR) for one in fields]


def read(disk: Path, start: int, path: str) -> bytes:
    """A file of the FAT that begins there."""
    return subprocess.run(["mtype", "-i", f"{disk}@@{start}", f"::{path}"], capture_output=True, check=True).stdout


def test_uefi_finds_a_loader_and_the_loader_a_kernel(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    disk = bootdisk.base(tmp_path, image, uefi.LOADER, loaded)
    (start, _), _ = partitions(disk)
    assert read(disk, start, "/EFI/BOOT/BOOTX64.EFI").startswith(b"MZ")
    assert (read(disk, start, "/vmlinuz"), read(disk, start, "/initrd")) == (b"a kernel", b"an initrd")
    assert read(disk, start, "/loader/loader.conf") == b"timeout 0\n"
    assert f"options {WORDS}\n".encode() in read(disk, start, "/loader/entries/tare.conf")


def test_the_first_sector_knows_where_grub_is_and_grub_a_kernel(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    disk = bootdisk.base(tmp_path, image, grub.LOADER, loaded)
    (core, core_bytes), (start, _), _ = partitions(disk)
    with disk.open("rb") as file:
        first = file.read(SECTOR)
        file.seek(core)
        held = file.read(core_bytes)
    assert first[-2:] == b"\x55\xaa"
    assert struct.unpack_from("<Q", first, 0x5C) == (core // SECTOR,)
    rest, sectors = struct.unpack_from("<QH", held, SECTOR - 12)
    assert rest == core // SECTOR + 1
    assert 0 < sectors * SECTOR < core_bytes
    assert not any(held[(sectors + 1) * SECTOR :]), "the core ends where its list says"
    assert (read(disk, start, "/vmlinuz"), read(disk, start, "/initrd")) == (b"a kernel", b"an initrd")


@loaders
def test_the_root_is_a_whole_file_system(loader: Loader, image: Image, loaded: Loaded, tmp_path: Path) -> None:
    disk = bootdisk.base(tmp_path, image, loader, loaded)
    parts = partitions(disk)
    start, size = parts[-1]
    assert len(parts) == loader.root_number
    assert loader.command_line.endswith(f"tare_root=/dev/vda{len(parts)}")
    root = tmp_path / "root"
    with disk.open("rb") as file, root.open("wb") as target:
        file.seek(start)
        target.write(file.read(64 << 20))
        target.truncate(size)
    assert proc.run(["debugfs", "-R", "cat /etc/name", str(root)]) == "tiny\n"
    proc.run(["sfdisk", "--verify", str(disk)])
    assert disk.stat().st_blocks * SECTOR < 32 << 20


@pytest.mark.slow
@loaders
def test_the_same_parts_give_the_same_bytes(loader: Loader, image: Image, loaded: Loaded, tmp_path: Path) -> None:
    digests = set()
    for store in (tmp_path / "one", tmp_path / "two"):
        with bootdisk.base(store, image, loader, loaded).open("rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").hexdigest())
    assert len(digests) == 1


@loaders
def test_other_words_for_the_kernel_are_another_disk(
    loader: Loader, image: Image, loaded: Loaded, tmp_path: Path
) -> None:
    other = replace(loaded, command_line="debug")
    usual = bootdisk.base(tmp_path, image, loader, loaded)
    assert usual != bootdisk.base(tmp_path, image, loader, other)
    assert usual != bootdisk.base(tmp_path, image, replace(loader, recipe="another"), loaded)


def test_a_word_that_grub_would_change_is_refused(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it's"):
        bootdisk.base(tmp_path, image, grub.LOADER, replace(loaded, command_line="quiet it's"))
    assert not list(tmp_path.rglob("*.gpt"))


@loaders
def test_what_is_missing_is_named_with_its_package(loader: Loader, tmp_path: Path) -> None:
    loader.check()
    broken = replace(loader, files={tmp_path / "none": "ovmf"}, programs={"no-such-program": "grub-common"})
    with pytest.raises(Unsupported, match="grub-common ovmf"):
        broken.check()

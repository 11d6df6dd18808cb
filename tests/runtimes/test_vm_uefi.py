"""The disk that firmware boots: what is on it, and that it is made the same way every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from harness import proc
from harness.errors import Unsupported
from harness.model import Image, Kernel
from runtimes.vm import uefi
from runtimes.vm.uefi import Loaded

SECTOR = 512


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
    return Loaded(kernel, b"an initrd", "quiet tare_root=/dev/vda2")


def partitions(disk: Path) -> list[tuple[int, int]]:
    """Where each begins and how long it is, in bytes."""
    lines = [line for line in proc.run(["sfdisk", "--dump", str(disk)]).splitlines() if "start=" in line]
    fields = [dict(word.strip().split("=") for word in line.partition(" : ")[2].split(",")[:2]) for line in lines]
    return [(int(one["start"]) * SECTOR, int(one["size"]) * SECTOR) for one in fields]


def test_firmware_finds_a_loader_and_the_loader_a_kernel(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    disk = uefi.base(tmp_path, image, loaded)
    (start, _), _ = partitions(disk)

    def read(path: str) -> bytes:
        return subprocess.run(["mtype", "-i", f"{disk}@@{start}", f"::{path}"], capture_output=True, check=True).stdout

    assert read("/EFI/BOOT/BOOTX64.EFI").startswith(b"MZ")
    assert (read("/vmlinuz"), read("/initrd")) == (b"a kernel", b"an initrd")
    assert read("/loader/loader.conf") == b"timeout 0\n"
    assert b"options quiet tare_root=/dev/vda2\n" in read("/loader/entries/tare.conf")


def test_the_root_is_a_whole_file_system(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    disk = uefi.base(tmp_path, image, loaded)
    _, (start, size) = partitions(disk)
    root = tmp_path / "root"
    with disk.open("rb") as file, root.open("wb") as target:
        file.seek(start)
        target.write(file.read(64 << 20))
        target.truncate(size)
    assert proc.run(["debugfs", "-R", "cat /etc/name", str(root)]) == "tiny\n"
    proc.run(["sfdisk", "--verify", str(disk)])
    assert disk.stat().st_blocks * SECTOR < 32 << 20


@pytest.mark.slow
def test_the_same_parts_give_the_same_bytes(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    digests = set()
    for store in (tmp_path / "one", tmp_path / "two"):
        with uefi.base(store, image, loaded).open("rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").hexdigest())
    assert len(digests) == 1


def test_other_words_for_the_kernel_are_another_disk(image: Image, loaded: Loaded, tmp_path: Path) -> None:
    other = Loaded(loaded.kernel, loaded.initrd, "debug")
    assert uefi.base(tmp_path, image, loaded) != uefi.base(tmp_path, image, other)


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uefi.check()
    monkeypatch.setattr(uefi, "_NEEDED", {tmp_path / "none": "ovmf"})
    monkeypatch.setattr(uefi, "_PROGRAMS", {"no-such-program": "mtools"})
    with pytest.raises(Unsupported, match="mtools ovmf"):
        uefi.check()

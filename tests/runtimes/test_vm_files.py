"""What a virtual machine boots from: initrd, disks, kernel."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import agent, proc
from harness.errors import TareError, UsageError
from harness.model import Image, Kernel
from runtimes.vm import disk, initrd, kernel
from runtimes.vm.disk import Backing
from runtimes.vm.profiles import DIRECT

ELF = b"\x7fELF" + bytes(64) + struct.pack("<III4s", 4, 8, 18, b"Xen\0") + bytes(1000)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A modules folder with a chain, a fork, two kinds of compression and something built in."""
    folder = tmp_path / "modules"
    (folder / "kernel").mkdir(parents=True)
    for name in ("ring", "bus", "failover", "virtio_net"):
        (folder / "kernel" / f"{name}.ko").write_bytes(name.encode())
    (folder / "kernel" / "virtio_pci.ko").write_bytes(b"virtio_pci")
    (folder / "kernel" / "virtio-console.ko.xz").write_bytes(lzma.compress(b"virtio_console"))
    zstd = subprocess.run(["zstd", "-q"], input=b"virtio_blk", capture_output=True, check=True).stdout
    (folder / "kernel" / "virtio_blk.ko.zst").write_bytes(zstd)
    (folder / "modules.dep").write_text(
        "kernel/ring.ko:\n"
        "kernel/bus.ko: kernel/ring.ko\n"
        "kernel/virtio_pci.ko: kernel/bus.ko kernel/ring.ko\n"
        "kernel/virtio-console.ko.xz: kernel/ring.ko\n"
        "kernel/virtio_blk.ko.zst: kernel/bus.ko kernel/ring.ko\n"
        "kernel/virtio_net.ko: kernel/failover.ko kernel/ring.ko\n"
        "kernel/failover.ko:\n"
    )
    (folder / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return folder


@pytest.fixture
def guest_kernel(modules: Path, tmp_path: Path) -> Kernel:
    return Kernel(version="6.1", path=str(tmp_path / "vmlinuz"), modules=str(modules), digest="sha256:0")


def members(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Reads a newc archive: name, mode, data."""
    stream = io.BytesIO(archive)
    while header := stream.read(110):
        assert header[:6] == b"070701"
        fields = [int(header[6 + 8 * number : 14 + 8 * number], 16) for number in range(13)]
        name = stream.read(fields[11])[:-1].decode()
        stream.seek(-stream.tell() % 4, os.SEEK_CUR)
        data = stream.read(fields[6])
        stream.seek(-stream.tell() % 4, os.SEEK_CUR)
        yield name, fields[1], data


def test_the_initrd_holds_init_busybox_and_modules_in_load_order(guest_kernel: Kernel) -> None:
    found = {name: (mode, data) for name, mode, data in members(initrd.build(b"busy", guest_kernel, DIRECT.modules))}
    assert found["bin/busybox"] == (stat.S_IFREG | 0o755, b"busy")
    assert found["dev/console"][0] == stat.S_IFCHR | 0o600
    loaded = [data for name, (_, data) in sorted(found.items()) if name.startswith("modules/")]
    assert loaded == [b"ring", b"bus", b"virtio_pci", b"virtio_console", b"virtio_blk"]
    later = [data for name, (_, data) in sorted(found.items()) if name.startswith("network/")]
    assert later == [b"failover", b"virtio_net"]  # what was loaded before is not loaded again
    assert list(found)[-1] == "TRAILER!!!"


def test_init_starts_the_agent_as_everywhere(guest_kernel: Kernel) -> None:
    init = {name: data for name, _, data in members(initrd.build(b"", guest_kernel, DIRECT.modules))}["init"].decode()
    assert f"chroot . {' '.join(agent.ARGV)}\n" in init
    assert all(f"'{name}={value}'" in init for name, value in agent.environment().items())
    assert initrd.MARKER.decode() in init
    assert "@" not in init
    subprocess.run(["/bin/sh", "-n"], input=init.encode(), check=True)


def test_the_initrd_is_reproducible(guest_kernel: Kernel) -> None:
    assert initrd.build(b"busy", guest_kernel, DIRECT.modules) == initrd.build(b"busy", guest_kernel, DIRECT.modules)


def test_what_the_disk_needs_is_loaded_where_it_is_not_built_in(guest_kernel: Kernel, modules: Path) -> None:
    (modules / "modules.builtin").write_text("")
    with (modules / "modules.dep").open("a") as file:
        file.write("kernel/ext4.ko: kernel/jbd2.ko\nkernel/jbd2.ko:\nkernel/crc32c_generic.ko:\n")
    for name in ("ext4", "jbd2", "crc32c_generic"):
        (modules / "kernel" / f"{name}.ko").write_bytes(name.encode())
    found = {name: data for name, _, data in members(initrd.build(b"busy", guest_kernel, DIRECT.modules))}
    loaded = [data for name, data in sorted(found.items()) if name.startswith("modules/")]
    assert loaded[0] == b"crc32c_generic"
    assert loaded[-2:] == [b"jbd2", b"ext4"]


def test_built_in_needs_no_file_and_missing_is_said(modules: Path) -> None:
    assert initrd.load_order(modules, ["ext4"]) == []
    with pytest.raises(UsageError, match="no virtio_rng"):
        initrd.load_order(modules, ["virtio_rng"])


@pytest.fixture
def image(tmp_path: Path) -> Image:
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "name").write_text("tiny\n")
    (root / "link").symlink_to("etc/name")
    return Image(name="tiny", digest="sha256:1", content_digest="", content_bytes=0, layers=(), root=str(root))


def test_the_base_disk_holds_the_tree_and_is_made_once(image: Image, tmp_path: Path) -> None:
    made = disk.base(tmp_path, image)
    before = made.stat().st_mtime_ns
    assert disk.base(tmp_path, image) == made
    assert made.stat().st_mtime_ns == before
    assert proc.run(["debugfs", "-R", "cat /etc/name", str(made)]) == "tiny\n"
    assert made.stat().st_blocks * 512 < 8 << 20 < disk.HEADROOM_BYTES <= made.stat().st_size
    proc.run(["e2fsck", "-fn", str(made)])


@pytest.mark.slow
def test_the_same_tree_gives_the_same_disk(image: Image, tmp_path: Path) -> None:
    digests = set()
    for store in (tmp_path / "one", tmp_path / "two"):
        with disk.base(store, image).open("rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").hexdigest())
    assert len(digests) == 1


@pytest.mark.machine
def test_a_full_disk_is_said_and_leaves_nothing(image: Image, tmp_path: Path) -> None:
    Path(image.root, "big").write_bytes(os.urandom(6 << 20))
    store = tmp_path / "store"
    store.mkdir()
    proc.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(store)])
    try:
        with pytest.raises(TareError, match="no space left"):
            disk.base(store, image)
        assert [path for path in store.rglob("*") if path.is_file()] == []
    finally:
        proc.run(["umount", str(store)])


def test_qemu_takes_the_overlay(image: Image, tmp_path: Path) -> None:
    base = disk.base(tmp_path, image)
    overlay = tmp_path / "box.qcow2"
    disk.create_overlay(overlay, Backing(base, "raw", base.stat().st_size))
    assert overlay.stat().st_blocks * 512 <= 32 << 10
    proc.run(["qemu-img", "check", str(overlay)])
    proc.run(["qemu-img", "compare", "-F", "raw", "-f", "qcow2", str(overlay), str(base)])
    proc.run(["qemu-io", "-c", "write -P 7 1M 3M", str(overlay)])
    proc.run(["qemu-img", "check", str(overlay)])
    assert "Pattern verification" not in proc.run(["qemu-io", "-c", "read -P 7 1M 3M", str(overlay)])


def bzimage(payload: bytes, sectors: int = 1) -> bytes:
    """The least that has a payload: magic, sector count, offset and length; the unpacked size follows the payload."""
    head = bytearray((sectors + 1) * 512 + 100)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    packed = payload + struct.pack("<I", len(ELF))
    struct.pack_into("<II", head, 0x248, 100, len(packed))
    return bytes(head) + packed


def packed_by(*argv: str) -> bytes:
    return subprocess.run(argv, input=ELF, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "payload",
    [
        gzip.compress(ELF),
        bz2.compress(ELF),
        lzma.compress(ELF),
        lzma.compress(ELF, format=lzma.FORMAT_ALONE),
        packed_by("lz4", "-l", "-c"),
        packed_by("zstd", "-c"),
    ],
    ids=["gzip", "bzip2", "xz", "lzma", "lz4", "zstd"],
)
def test_a_kernel_is_unpacked(payload: bytes, guest_kernel: Kernel, tmp_path: Path) -> None:
    Path(guest_kernel.path).write_bytes(bzimage(payload))
    made = kernel.bootable(tmp_path, guest_kernel)
    assert made.read_bytes() == ELF
    assert "PVH" in kernel.form(made)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"????" * 9, "unknown way"), (gzip.compress(b"\x7fELF" + bytes(500)), "no PVH entry")],
)
def test_a_kernel_that_cannot_be_unpacked_boots_as_it_is(
    payload: bytes, reason: str, guest_kernel: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(guest_kernel.path).write_bytes(bzimage(payload))
    made = kernel.bootable(tmp_path, guest_kernel)
    assert made == Path(guest_kernel.path)
    assert reason in capsys.readouterr().err
    assert "unpacks itself" in kernel.form(made)


def test_a_file_that_is_no_kernel_is_refused(guest_kernel: Kernel, tmp_path: Path) -> None:
    Path(guest_kernel.path).write_text("hello")
    with pytest.raises(UsageError, match="not a kernel"):
        kernel.bootable(tmp_path, guest_kernel)

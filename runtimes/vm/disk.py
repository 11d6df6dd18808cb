"""An image as a disk: one ext4 base per image, kept by digest, and a small qcow2 overlay per box.

Boxes write, and none may see what another wrote. Overlays on tmpfs inside the guest would put the box's writes into its
memory instead of its disk; a sparse copy of the base takes 5 ms for the smallest image and grows with it.

The overlay is four clusters, written by hand in 0.3 ms: `qemu-img create` takes 8 ms, most of it to start.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import paths, proc
from harness.errors import Unsupported
from harness.model import Image

HEADROOM_BYTES = 1 << 30
"""What a box may write beyond its image; sparse, so it costs nothing until written."""

_UUID = "74617265-0000-4000-8000-000000000001"
_MIB = 1 << 20
_BYTES_PER_INODE_SHARE = 1.25  # ext4's own tables and rounding, on top of the files
_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_REFCOUNT_BITS_LOG2 = 4
_BACKING_FORMAT = 0xE2792ACA


def base(store: Path, image: Image) -> Path:
    """The image's disk, made on first use. UUID, hash seed and times are fixed: the same tree gives the same bytes."""
    folder = store / "vm" / "disks" / image.digest.replace(":", "-")
    disk = folder / "disk.ext4"
    if not disk.exists():
        with paths.whole_or_nothing(folder) as draft:
            _make_ext4(Path(image.root), draft / disk.name)
    return disk


def _make_ext4(tree: Path, disk: Path) -> None:
    size_bytes = ext4_bytes(tree)
    with disk.open("wb") as file:
        file.truncate(size_bytes)
    fill_ext4(tree, disk, size_bytes)


def ext4_bytes(tree: Path) -> int:
    """How large a file system for that tree is made, in whole MiB."""
    used_bytes = sum(entry.lstat().st_size + 4096 for entry in tree.rglob("*"))
    size_bytes = int(used_bytes * _BYTES_PER_INODE_SHARE) + HEADROOM_BYTES
    return size_bytes + -size_bytes % _MIB


def fill_ext4(tree: Path, disk: Path, size_bytes: int, offset_bytes: int = 0) -> None:
    """Makes the file system, with the tree in it, at its place in a file of zeroes."""
    # Lazy: zeroes of a fresh sparse file need not be written; a journal of them is 32 MB that nobody ships.
    extended = f"hash_seed={_UUID},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,offset={offset_bytes}"
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-U", _UUID, "-E", extended, "-d", str(tree), str(disk)]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "0", "E2FSPROGS_FAKE_TIME": "1"}
    with naming_a_full(disk.parent.parent):
        proc.run([*argv, f"{size_bytes // 1024}k"], timeout_s=600.0, env=env, hint="apt-get install e2fsprogs")


@contextmanager
def naming_a_full(folder: Path) -> Iterator[None]:
    """Turns what a program says of a full disk into the error that names it."""
    try:
        yield
    except proc.CommandFailed as error:
        if "No space left" in error.message:
            raise paths.disk_full(folder) from None
        raise


@dataclass(frozen=True, slots=True)
class Backing:
    """What a box's disk reads as until it is written to. `format` is QEMU's word; `size_bytes` the size of the disk."""

    path: Path
    format: str
    size_bytes: int


def create_overlay(path: Path, backing: Backing) -> None:
    """A qcow2 file that reads as `backing` and takes every write itself."""
    clusters = overlay(backing)
    with path.open("wb") as file:
        for number, data in enumerate(clusters):
            file.seek(number * _CLUSTER)
            file.write(data)
        file.truncate(len(clusters) * _CLUSTER)


def overlay(backing: Backing) -> tuple[bytes, ...]:
    """The clusters of an empty qcow2 (version 3), zeroes at their ends left out: all but these bytes is a hole."""
    name, format_name = os.fsencode(backing.path), backing.format.encode()
    l1_entries = -(-backing.size_bytes // (_CLUSTER * _CLUSTER // 8))
    if len(name) > 1023 or l1_entries * 8 > _CLUSTER:
        raise Unsupported(
            f"cannot make an overlay of {backing.path}: its path or its size is too long", hint="shorten it"
        )
    extensions = struct.pack(">II8sII", _BACKING_FORMAT, len(format_name), format_name, 0, 0)
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        104 + len(extensions),  # where the backing file's name stands
        len(name),
        _CLUSTER_BITS,
        backing.size_bytes,
        0,  # not encrypted
        l1_entries,
        3 * _CLUSTER,  # L1 table
        _CLUSTER,  # refcount table
        1,
        0,  # no snapshots
        0,
        0,  # no incompatible features
        0,
        0,
        _REFCOUNT_BITS_LOG2,
        104,
    )
    return (
        header + extensions + name,
        struct.pack(">Q", 2 * _CLUSTER),  # refcount table: one block, in the next cluster
        struct.pack(">4H", 1, 1, 1, 1),  # refcount block: these four clusters are in use
        b"",  # L1 table: nothing written yet
    )

"""What can be imported: an image in one of the forms images travel in, found out by looking, never by its file name.

SOURCE is an OCI layout (folder or archive), the output of `docker save`, or a root file system (archive or folder).
An archive that is both a layout and docker's own form is read as a layout: there every blob has a digest. Archives are
unpacked by the same applier as layers, and what is in them is opened with the archive as `/`, so a link or a path in
one cannot name a file of this host. Nothing is ever fetched: a layer that lies elsewhere is a missing layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness import manifests, packing
from harness.errors import UsageError
from harness.layers import Tree
from harness.packed import Budget, Limits, Unpacked, compression_of
from harness.shelf import Shelf, Source, SourceLayer
from harness.tarstream import TarStream

_ROOT_NAMES = frozenset(b"bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var".split())
_IMAGE_NAMES = frozenset((b"oci-layout", b"manifest.json"))
_MAGIC_BYTES = 8
KINDS = "an OCI layout, an archive of one, the output of `docker save`, or a root file system (tar or folder)"


@contextmanager
def opened(source: str, work: Path, limits: Limits) -> Iterator[Source]:
    """SOURCE as an image; `work` takes what has to be unpacked or packed for it. `SOURCE:NAME` picks one of several."""
    path, reference = Path(source), ""
    if not path.exists() and ":" in source:
        before, _, reference = source.rpartition(":")
        path = Path(before)
    if path.is_file() and _is_root_archive(path, limits):
        yield _root_file_system(path, reference)
        return
    if path.is_file():
        path, archive = work / "archive", path
        _unpack(archive, path, limits)
    elif not path.is_dir():
        raise UsageError(f"there is no file or folder {source}", hint=f"name {KINDS}")
    with _opened_folder(path) as root:
        shelf = Shelf(root, limits)
        if shelf.has("oci-layout"):
            yield manifests.from_layout(shelf, reference)
        elif shelf.has("manifest.json"):
            yield manifests.from_docker(shelf, reference)
        else:
            packing.pack(path, work / "root.tar.gz")
            yield _root_file_system(work / "root.tar.gz", reference)


def _root_file_system(archive: Path, reference: str) -> Source:
    """An archive of a root file system as an image of one layer, which says nothing of how to run it."""
    if reference:
        raise UsageError("a root file system holds no images to pick from", hint=f"leave out :{reference}")
    with archive.open("rb") as file:
        compression = compression_of(file.read(_MAGIC_BYTES))
    return Source(layers=[SourceLayer(open=lambda: archive.open("rb"), compression=compression)])


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_root_archive(path: Path, limits: Limits) -> bool:
    """Whether an archive holds a file system rather than an image; told by the first name that only one of them has."""
    with path.open("rb") as file:
        for member in _members(file, path, limits):
            first = member.path.removeprefix(b"./").split(b"/")[0]
            if first in _IMAGE_NAMES and b"/" not in member.path.removeprefix(b"./"):
                return False
            if first in _ROOT_NAMES:
                return True
    return True


def _members(file: BinaryIO, path: Path, limits: Limits) -> TarStream:
    compression = compression_of(file.read(_MAGIC_BYTES))
    file.seek(0)
    budget = Budget(limits)
    return TarStream(Unpacked(file, compression, path.stat().st_size, budget), budget)


def _unpack(path: Path, target: Path, limits: Limits) -> None:
    target.mkdir()
    with Tree(target, limits) as tree, path.open("rb") as file:
        members = _members(file, path, limits)
        for member in members:
            tree.apply(member, members.data())

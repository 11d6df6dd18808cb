"""Layers laid over each other in one folder, as the OCI image specification says, by descriptors alone.

An entry replaces what lower layers put in its place; a folder over a folder only changes its attributes. `.wh.NAME`
hides NAME and `.wh..wh..opq` all that lower layers put into its folder, wherever in the layer they stand: what the
layer itself brings always stays. Two entries of one layer for the same thing are refused unless both are folders.

What is kept of an entry's attributes stands in attributes.py; FIFOs are made, devices never.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from harness import attributes
from harness.packed import Limits
from harness.tarstream import Kind, Member, refused
from harness.within import Folders, Place, clean

_WHITEOUT = b".wh."
_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_THE_HOSTS_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Data = Iterable[bytes | memoryview]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of the finished tree; its names are many when it has hard links."""

    path: bytes
    sha256: str
    size: int
    inode: int


class Tree:
    """A root file system while it is built, in a folder that is there and empty.

    A `with` block holds its descriptors. `left_out` counts what was not made, by kind.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self._limits = limits
        self._folders = Folders(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), limits)
        self._privileged = os.geteuid() == 0
        self._sums: dict[int, str] = {}
        self._own: set[tuple[int, bytes]] = set()
        self._touched: set[int] = set()
        self.left_out: Counter[str] = Counter()
        self._makers: dict[Kind, Callable[[Place, bytes, Member, Data], None]] = {
            Kind.FILE: self._file,
            Kind.FOLDER: self._folder,
            Kind.SYMLINK: self._symlink,
            Kind.HARDLINK: self._hardlink,
            Kind.FIFO: self._fifo,
        }

    def begin_layer(self) -> None:
        """What comes now is a layer of its own."""
        self._own.clear()
        self._touched.clear()

    def apply(self, member: Member, data: Data = ()) -> None:
        """Makes one entry. UsageError when it is one that no image may hold."""
        try:
            self._apply(member, data)
        except OSError as error:
            if error.errno in _THE_HOSTS_FAULT:
                raise
            raise refused(f"holds the {member.kind.value} {member.shown} ({error.strerror})") from None

    def has(self, name: bytes) -> bool:
        """Whether anything of that name stands in the root."""
        return _state(self._folders.root, name) is not None

    def files(self) -> Iterator[File]:
        """All regular files there are now, in no certain order."""
        for top, _, names, fd in os.fwalk(b".", dir_fd=self._folders.root.fd):
            for name in names:
                state = os.lstat(name, dir_fd=fd)
                if stat.S_ISREG(state.st_mode):
                    path = (top + b"/" + name).removeprefix(b"./")
                    yield File(path, self._sums[state.st_ino], state.st_size, state.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folders.close()
        os.close(self._folders.root.fd)

    def finish(self) -> None:
        """Gives folders their modes and times, which making what is in them would have changed."""
        for _, _, _, fd in os.fwalk(b".", topdown=False, dir_fd=self._folders.root.fd):
            folder = self._folders.known[os.fstat(fd).st_ino]
            os.fchmod(fd, folder.mode)
            os.utime(fd, ns=(folder.mtime_ns, folder.mtime_ns))

    def _apply(self, member: Member, data: Data) -> None:
        *above, name = clean(member.path, self._limits) or [b""]
        if not name:
            self._root(member)
            return
        if any(part.startswith(_WHITEOUT) for part in above):
            raise refused(f"holds {member.shown}, which lies in something hidden")
        if name.startswith(_WHITEOUT):
            self._whiteout(above, name)
        elif member.kind in (Kind.CHARACTER, Kind.BLOCK):
            attributes.check_device(member)
            self.left_out["device"] += 1
        else:
            place = self._folders.ensure(above)
            self._claim(place, name, member)
            self._makers[member.kind](place, name, member, data)

    def _root(self, member: Member) -> None:
        if member.kind is not Kind.FOLDER:
            raise refused(f"makes its own root a {member.kind.value}")
        self._attributes_of_folder(self._folders.root, member)

    def _claim(self, place: Place, name: bytes, member: Member) -> None:
        """Notes that this layer brings this entry, and that it speaks of every folder above it."""
        key = place.inode, name
        if key in self._own:
            state = _state(place, name)
            if member.kind is not Kind.FOLDER or not state or not stat.S_ISDIR(state.st_mode):
                raise refused(f"holds {member.shown} twice in one layer")
        self._own.add(key)
        self._touch(place.inode)

    def _touch(self, inode: int) -> None:
        while inode not in self._touched:
            self._touched.add(inode)
            inode = self._folders.known[inode].parent

    def _file(self, place: Place, name: bytes, member: Member, data: Data) -> None:
        fd = self._afresh(place, name, member, lambda: os.open(name, _CREATE, 0o600, dir_fd=place.fd))
        try:
            sha256 = hashlib.sha256()
            for piece in data:
                sha256.update(piece)
                _write(fd, piece)
            self._sums[os.fstat(fd).st_ino] = sha256.hexdigest()
            if self._privileged:
                os.fchown(fd, member.uid, member.gid)
            # A change of owner or content would clear capabilities and setuid bits: they come after it.
            attributes.set_xattrs(fd, member, self.left_out)
            os.fchmod(fd, member.mode)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(fd)

    def _folder(self, place: Place, name: bytes, member: Member, data: Data) -> None:
        try:
            folder = self._folders.add(place, name)
        except FileExistsError:
            folder = self._folder_that_exists(place, name, member)
        try:
            self._touch(folder.inode)
            self._attributes_of_folder(folder, member)
        finally:
            os.close(folder.fd)

    def _folder_that_exists(self, place: Place, name: bytes, member: Member) -> Place:
        try:
            return self._folders.enter(place, name)
        except NotADirectoryError:
            self._displace(place, name, member)
            return self._folders.add(place, name)

    def _attributes_of_folder(self, folder: Place, member: Member) -> None:
        if self._privileged:
            os.fchown(folder.fd, member.uid, member.gid)
        attributes.set_xattrs(folder.fd, member, self.left_out)
        known = self._folders.known[folder.inode]
        known.mode, known.mtime_ns = member.mode, member.mtime_ns

    def _symlink(self, place: Place, name: bytes, member: Member, data: Data) -> None:
        if not member.target or b"\0" in member.target:
            raise refused(f"holds the symbolic link {member.shown} that points nowhere")
        self._afresh(place, name, member, lambda: os.symlink(member.target, name, dir_fd=place.fd))
        if self._privileged:
            os.chown(name, member.uid, member.gid, dir_fd=place.fd, follow_symlinks=False)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=place.fd, follow_symlinks=False)

    def _hardlink(self, place: Place, name: bytes, member: Member, data: Data) -> None:
        *above, target = clean(member.target, self._limits, "target of a hard link") or [b""]
        fd = os.dup(place.fd)  # the place is lent, and the target's folder is asked for next
        try:
            source = self._folders.find(above) if target else None
            state = _state(source, target) if source else None
            if not source or not state or not stat.S_ISREG(state.st_mode):
                kind = "is a symbolic link" if state and stat.S_ISLNK(state.st_mode) else "is no file here"
                raise refused(f"holds a hard link {member.shown} to {os.fsdecode(member.target)!r}, which {kind}")
            here = Place(fd, place.inode)
            source_fd = os.dup(source.fd)
            try:
                self._afresh(here, name, member, lambda: _link(source_fd, target, fd, name))
            finally:
                os.close(source_fd)
        finally:
            os.close(fd)

    def _fifo(self, place: Place, name: bytes, member: Member, data: Data) -> None:
        self._afresh(place, name, member, lambda: os.mkfifo(name, 0o600, dir_fd=place.fd))
        if self._privileged:
            os.chown(name, member.uid, member.gid, dir_fd=place.fd, follow_symlinks=False)
        os.chmod(name, member.mode, dir_fd=place.fd)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=place.fd, follow_symlinks=False)

    def _afresh(self, place: Place, name: bytes, member: Member, make: Callable[[], T]) -> T:
        """Makes what may not exist yet; what a lower layer put there goes first."""
        try:
            return make()
        except FileExistsError:
            self._displace(place, name, member)
            return make()

    def _displace(self, place: Place, name: bytes, member: Member) -> None:
        state = _state(place, name)
        if state and stat.S_ISDIR(state.st_mode) and state.st_ino in self._touched:
            raise refused(f"holds {member.shown} twice in one layer")
        if state:
            self._remove(place, name, state)

    def _whiteout(self, above: list[bytes], name: bytes) -> None:
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise refused(f"hides {os.fsdecode(hidden)!r}, which is no name")
        if name.startswith(_META) and name != _OPAQUE:
            self.left_out["aufs bookkeeping file"] += 1
            return
        # Who packs a layer knows where things really lie: a hidden path with a link in it comes from nowhere good.
        place = self._folders.find(above, links=False)
        if place:
            for one in _names(place.fd) if name == _OPAQUE else [hidden]:
                self._hide(place, one)

    def _hide(self, place: Place, name: bytes) -> None:
        """Removes what lower layers put there; what this layer brings stays, with the folders that hold it."""
        state = _state(place, name)
        if state and stat.S_ISDIR(state.st_mode) and state.st_ino in self._touched:
            below = self._folders.enter(place, name)
            try:
                for one in _names(below.fd):
                    self._hide(below, one)
            finally:
                os.close(below.fd)
        elif state and (place.inode, name) not in self._own:
            self._remove(place, name, state)

    def _remove(self, place: Place, name: bytes, state: os.stat_result) -> None:
        self._folders.forget()
        if stat.S_ISDIR(state.st_mode):
            shutil.rmtree(os.fsdecode(name), dir_fd=place.fd)
        else:
            os.unlink(name, dir_fd=place.fd)


def _state(place: Place, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=place.fd)
    except FileNotFoundError:
        return None


def _names(fd: int) -> list[bytes]:
    with os.scandir(fd) as entries:
        return [os.fsencode(entry.name) for entry in entries]


def _link(source: int, target: bytes, place: int, name: bytes) -> None:
    os.link(target, name, src_dir_fd=source, dst_dir_fd=place, follow_symlinks=False)


def _write(fd: int, data: bytes | memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]

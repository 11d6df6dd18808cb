"""Folders below one root, opened by the kernel's `openat2`, which refuses to follow a link or to leave the root.

Links on the way to an entry are legal (a base image has `/var/run → /run`, the next layer writes `var/run/x`). They are
resolved here, by reading them one at a time, with the root as `/`; one that climbs above the root is refused rather
than stopped at it. The kernel is then asked for the resolved path and told that it holds no link: were we wrong about
that, the call fails.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import Unsupported
from harness.packed import Limits
from harness.tarstream import refused

NO_MAGIC_LINKS, NO_LINKS, BENEATH, IN_ROOT = 0x02, 0x04, 0x08, 0x10
IMPLICIT_MODE = 0o755

_NR_OPENAT2 = 437  # the same on every architecture
_STRICT = NO_MAGIC_LINKS | NO_LINKS | BENEATH
_MOST_LINKS = 40
_libc = ctypes.CDLL(None, use_errno=True)

Parts = Sequence[bytes]


def openat2(root: int, path: bytes, flags: int, resolve: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    found = int(_libc.syscall(_NR_OPENAT2, root, path or b".", how, len(how)))
    if found < 0:
        code = ctypes.get_errno()
        if code == errno.ENOSYS:
            raise Unsupported("this kernel has no openat2", hint="import images on Linux 5.6 or newer")
        raise OSError(code, os.strerror(code), os.fsdecode(path))
    return found


def clean(path: bytes, limits: Limits, what: str = "path") -> list[bytes]:
    """The components of a path of an archive. Refused when absolute, climbing, overlong or not a name at all."""
    shown = repr(os.fsdecode(path[:200]))
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if not path:
        raise refused(f"holds an entry with an empty {what}")
    if b"\0" in path:
        raise refused(f"holds a {what} with a NUL in it ({shown})")
    if path.startswith(b"/"):
        raise refused(f"holds the absolute {what} {shown}")
    if b".." in parts:
        raise refused(f"holds the {what} {shown}, which climbs out of its folder")
    if len(path) > limits.path_bytes or len(parts) > limits.depth or any(len(part) > 255 for part in parts):
        raise refused(f"holds a {what} that is too long or too deep ({shown}…)")
    return parts


@dataclass(slots=True)
class Folder:
    """What is known of a folder of the tree, under its inode: who holds it, and what it gets in the end."""

    parent: int
    depth: int
    path_bytes: int
    mode: int = IMPLICIT_MODE
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """An open folder. Lent: valid until the next one is asked for."""

    fd: int
    inode: int


class Folders:
    """The folders of one tree that is being built; the one used last stays open, since entries come by folder."""

    def __init__(self, root: int, limits: Limits) -> None:
        self.root = Place(root, os.fstat(root).st_ino)
        self.known = {self.root.inode: Folder(self.root.inode, 0, 0)}
        self._limits = limits
        self._lent: Place | None = None
        self._lent_path: bytes | None = None

    def close(self) -> None:
        if self._lent:
            os.close(self._lent.fd)
        self._lent = self._lent_path = None

    def forget(self) -> None:
        """What a path leads to may have changed. The place that is lent stays open until the next one is."""
        self._lent_path = None

    def find(self, parts: Parts, *, links: bool = True) -> Place | None:
        """The folder of that path; None when there is none. `links`: the path may lead through links."""
        return self._place(parts, make=False, links=links)

    def ensure(self, parts: Parts) -> Place:
        """The folder of that path, made with all that leads to it."""
        place = self._place(parts, make=True, links=True)
        assert place is not None
        return place

    def add(self, place: Place, name: bytes) -> Place:
        """A new folder in a folder; the caller closes it. Everything may be done in it until it gets its own mode."""
        above = self.known[place.inode]
        path_bytes = above.path_bytes + len(name) + 1
        if above.depth + 1 > self._limits.depth or path_bytes > self._limits.path_bytes:
            raise refused(f"nests folders too deeply ({os.fsdecode(name[:100])!r})")
        os.mkdir(name, 0o700, dir_fd=place.fd)
        made = self.enter(place, name)
        self.known[made.inode] = Folder(place.inode, above.depth + 1, path_bytes)
        return made

    def enter(self, place: Place, name: bytes) -> Place:
        """A folder in a folder; the caller closes it."""
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
        return Place(fd, os.fstat(fd).st_ino)

    def _place(self, parts: Parts, *, make: bool, links: bool) -> Place | None:
        if not parts:
            return self.root
        key = b"/".join(parts)
        if self._lent and self._lent_path == key and links:
            return self._lent
        fd = self._open(key, parts, make=make, links=links)
        if fd is None:
            return None
        self.close()
        self._lent, self._lent_path = Place(fd, os.fstat(fd).st_ino), key
        return self._lent

    def _open(self, key: bytes, parts: Parts, *, make: bool, links: bool) -> int | None:
        try:
            return openat2(self.root.fd, key, os.O_RDONLY | os.O_DIRECTORY, _STRICT)
        except OSError as error:
            if error.errno == errno.ELOOP and links:
                real = self._resolve(parts)
                return self._open(b"/".join(real), real, make=make, links=False)
            if error.errno == errno.ELOOP:
                raise refused(f"goes through a link at {os.fsdecode(key)!r}, where none may be") from None
            if error.errno == errno.ENOTDIR:
                raise refused(f"takes {os.fsdecode(key)!r} for a folder, which it is not") from None
            if error.errno != errno.ENOENT:
                raise
        return self._make(parts) if make else None

    def _make(self, parts: Parts) -> int:
        place = Place(os.dup(self.root.fd), self.root.inode)
        for part in parts:
            try:
                below = self.enter(place, part)
            except FileNotFoundError:
                below = self.add(place, part)
            finally:
                os.close(place.fd)
            place = below
        return place.fd

    def _resolve(self, parts: Parts) -> list[bytes]:
        """The same path without links. What does not exist yet counts as a folder."""
        todo, done, links = list(reversed(parts)), list[bytes](), 0
        while todo:
            part = todo.pop()
            if part == b"..":
                if not done:
                    raise refused(f"leads out of the image by the links in {os.fsdecode(b'/'.join(parts))!r}")
                done.pop()
                continue
            if part in (b"", b"."):
                continue
            target = self._target([*done, part])
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise refused(f"goes round in a circle of links at {os.fsdecode(b'/'.join(parts))!r}")
            done = [] if target.startswith(b"/") else done
            todo.extend(reversed(target.split(b"/")))
        return done

    def _target(self, parts: Parts) -> bytes | None:
        """Where the link of that path points; None when it is something else or nothing."""
        try:
            fd = openat2(self.root.fd, b"/".join(parts), os.O_PATH | os.O_NOFOLLOW, _STRICT)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise
        try:
            return os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

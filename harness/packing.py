"""A folder as a tar archive: its own order, times and owners, so that the same folder gives the same bytes.

Hard links stay hard links, extended attributes go along. Stays on one file system: where something is mounted (a
/proc, a /dev) stands an empty folder. Sockets are left out, they are nothing without their process.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError

_LEVEL = 6
_WHITEOUT = ".wh."
_PAX_XATTR = "SCHILY.xattr."


def pack(folder: Path, archive: Path) -> None:
    """Writes the folder as a gzip-compressed archive without a time stamp. UsageError for what cannot be read."""
    try:
        _pack(folder, archive)
    except PermissionError as error:
        message = f"cannot read {error.filename}: {error.strerror}"
        raise UsageError(message, hint="as root, or without what you may not read") from None


def _pack(folder: Path, archive: Path) -> None:
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        device = folder.stat().st_dev
        for path in _walk(folder, device):
            _add(tar, path, path.relative_to(folder).as_posix(), device)


def _walk(folder: Path, device: int) -> Iterator[Path]:
    """The folder and all below it on the same file system, each folder before what it holds, by name."""
    todo = [folder]
    while todo:
        path = todo.pop()
        yield path
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode) and state.st_dev == device:
            todo += sorted(path.iterdir(), reverse=True)


def _add(tar: tarfile.TarFile, path: Path, name: str, device: int) -> None:
    if path.name.startswith(_WHITEOUT):
        raise UsageError(f"{path} has a name that means a deleted file in an image", hint="rename it, or leave it out")
    state = path.lstat()
    if stat.S_ISDIR(state.st_mode) and state.st_dev != device:
        tar.addfile(_empty_folder(name))
        return
    info = tar.gettarinfo(path, arcname=name)
    if info is None:  # a socket
        return
    info.uname = info.gname = ""
    info.pax_headers = {"mtime": f"{state.st_mtime_ns // 10**9}.{state.st_mtime_ns % 10**9:09}", **_xattrs(path)}
    if info.isreg():
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)


def _empty_folder(name: str) -> tarfile.TarInfo:
    """What lies under a mount cannot be seen, and what is mounted has a new time each day: plain attributes."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def _xattrs(path: Path) -> dict[str, str]:
    """The attributes an image may have, in the way tarfile takes bytes; all others belong to this host."""
    if path.is_symlink():
        return {}
    names = [name for name in os.listxattr(path) if name.startswith("user.") or name == "security.capability"]
    return {_PAX_XATTR + name: os.getxattr(path, name).decode("utf-8", "surrogateescape") for name in sorted(names)}

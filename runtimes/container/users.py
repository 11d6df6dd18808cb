"""Users and groups as an image names them, read from outside without following one of its links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

_MOST_BYTES = 1 << 20
_MOST_ID = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class User:
    """Numbers, and where it is at home."""

    ids: tuple[int, ...]
    home: str


def find(root: Path, said: str) -> User:
    """`USER[:GROUP]`, names or numbers; nothing said is root. UsageError for a name the image has not got."""
    name, _, group = said.partition(":")
    name = name or "0"
    entry = next((one for one in _entries(root, "passwd", 6) if name in (one[0], one[2])), None)
    if entry is not None:
        uid, gid, home = _number(entry[2]), _number(entry[3]), entry[5] or "/"
    elif name.isdecimal():
        uid, gid, home = _number(name), 0, "/"
    else:
        raise UsageError(f"the image has no user named {name!r}", hint="give a number, or a name of its /etc/passwd")
    if group:
        return User((uid, _group(root, group)), home)
    others = (_number(one[2]) for one in _entries(root, "group", 4) if entry and entry[0] in one[3].split(","))
    return User((uid, gid, *sorted({*others} - {gid})), home)


def _group(root: Path, said: str) -> int:
    entry = next((one for one in _entries(root, "group", 4) if said in (one[0], one[2])), None)
    if entry is not None:
        return _number(entry[2])
    if not said.isdecimal():
        raise UsageError(f"the image has no group named {said!r}", hint="give a number, or a name of its /etc/group")
    return _number(said)


def _number(text: str) -> int:
    """Strictly: `-1`, `+0` or a number beyond the kernel's would mean something else to it."""
    if not text.isascii() or not text.isdecimal() or int(text) > _MOST_ID:
        raise UsageError(f"{text!r} is not the number of a user or group", hint=f"it is 0 to {_MOST_ID}")
    return int(text)


def _entries(root: Path, name: str, fields: int) -> Iterator[list[str]]:
    for line in _text(root, name).splitlines():
        entry = line.split(":")
        if len(entry) >= fields and not line.startswith("#"):
            yield entry


def _text(root: Path, name: str) -> str:
    """Empty when it is missing, or anything but a file of a sane size in a folder of the image's own."""
    no_link = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        etc = os.open(root / "etc", no_link | os.O_DIRECTORY)
        try:
            file = os.open(name, no_link, dir_fd=etc)
        finally:
            os.close(etc)
    except OSError:
        return ""
    with os.fdopen(file, "rb") as opened:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_BYTES:
            return ""
        return opened.read(_MOST_BYTES).decode(errors="surrogateescape")

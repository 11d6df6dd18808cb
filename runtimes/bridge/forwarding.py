"""The host's switch for passing packets on between its links: on while a network of ours needs it, then as it was.

The kernel's one switch sets every link's own, so those that differed are noted as well. The note is written before the
switch is touched and lies beside the marks' locks, one per network namespace, with the names of those who need it;
the last of them puts everything back. A switch that was on already is not ours and stays out of it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from harness import marks, paths

_SWITCHES = Path("/proc/sys/net/ipv4")
_ON, _EVERY_LINK = "1", ("all", "default")


class Note(msgspec.Struct):
    """What was, and for whom it was changed."""

    before: str
    links: dict[str, str]
    users: list[str]


def acquire(user: str) -> None:
    """Switches it on for that bridge. Under the lock of `bridges.changing`, as all of this."""
    note = _read()
    if note is None:
        if (_SWITCHES / "ip_forward").read_text().strip() == _ON:
            return
        note = Note(before="0", links=_links(), users=[])
    note.users = sorted({*note.users, user})
    paths.write_atomically(_note(), msgspec.json.encode(note))
    (_SWITCHES / "ip_forward").write_text(_ON)


def release(user: str) -> None:
    """That bridge needs it no longer. Harmless for one that never did."""
    note = _read()
    if note is None or user not in note.users:
        return
    note.users.remove(user)
    if note.users:
        paths.write_atomically(_note(), msgspec.json.encode(note))
        return
    (_SWITCHES / "ip_forward").write_text(note.before)
    for link, value in note.links.items():
        with contextlib.suppress(FileNotFoundError):  # a link that has gone since
            _switch_of(link).write_text(value)
    _note().unlink()


def _links() -> dict[str, str]:
    """The links that pass packets on although the host as a whole does not."""
    values = {path.parent.name: path.read_text().strip() for path in (_SWITCHES / "conf").glob("*/forwarding")}
    return {link: value for link, value in values.items() if link not in _EVERY_LINK and value == _ON}


def _switch_of(link: str) -> Path:
    return _SWITCHES / "conf" / link / "forwarding"


def _note() -> Path:
    return marks.folder() / f"forwarding-{Path('/proc/self/ns/net').stat().st_ino}"


def _read() -> Note | None:
    path = _note()
    return msgspec.json.decode(path.read_bytes(), type=Note) if path.exists() else None

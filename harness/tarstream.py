"""Tar archives that are not to be trusted, read as a stream: who is in it, and the bytes of each file.

Where two readers could understand an archive differently it is refused, because what one of them checked, another
would then run. Names stay bytes: what is not UTF-8 passes through unchanged.

Understood: ustar, GNU long names and numbers, pax headers (path, linkpath, size, uid, gid, mtime, extended attributes).
Refused: sparse files (a few bytes may claim terabytes), volumes, pax headers for the whole archive that set anything,
entries of a type nobody defined.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from harness.errors import UsageError
from harness.packed import HARM, Budget, Unpacked

_BLOCK = 512
_PIECE_BYTES = 1 << 20
_XATTR = b"SCHILY.xattr."
_PAX_NUMBERS = {b"uid", b"gid", b"size"}
_PAX_USED = {b"path", b"linkpath", b"mtime", *_PAX_NUMBERS}
_LATEST_NS = (1 << 34) * 10**9  # the last second ext4 can store
_LARGEST_ID = 0xFFFF_FFFE  # one more means "leave it" to chown


class Kind(Enum):
    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "FIFO"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"5": Kind.FOLDER,
    b"2": Kind.SYMLINK,
    b"1": Kind.HARDLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"6": Kind.FIFO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry. `path` and `target` are as they stand in the archive: nothing about them has been checked."""

    path: bytes
    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The path for a message: printable and on one line, whatever it holds."""
        return repr(os.fsdecode(self.path[:200]))


class TarStream:
    """The entries of one archive, in order; `data()` is that of the entry last given, and may be left unread."""

    def __init__(self, stream: Unpacked, budget: Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._left = 0
        self._padding = 0
        self._pax: dict[bytes, bytes] = {}
        self._long: dict[bytes, bytes] = {}
        self.complete = False
        """The archive's end was seen, not only the end of its bytes."""

    def __iter__(self) -> Iterator[Member]:
        while header := self._header():
            kind = header[156:157]
            self._budget.spend_entry()
            self._left = _number(header[124:136], "size")
            self._padding = -self._left % _BLOCK
            if kind in b"xgLK":
                self._extend(kind)
            elif kind in _KINDS:
                yield self._member(header, _KINDS[kind])
            elif kind != b"V":  # a volume's label names nothing
                raise refused(f"holds an entry of a type that is not understood ({_type_name(kind)})")

    def data(self) -> Iterator[memoryview]:
        """What is left of the current file's bytes."""
        while self._left:
            piece = self._stream.some(min(self._left, _PIECE_BYTES))
            if not piece:
                raise refused("is cut short in the middle of a file")
            self._left -= len(piece)
            yield piece

    def _header(self) -> bytes:
        """The next header; nothing at the end. One block of zeros ends an archive, as it does for GNU tar."""
        for _ in self.data():
            pass
        if len(self._stream.exactly(self._padding)) < self._padding:
            raise refused("is cut short")
        self._padding = 0
        header = self._stream.exactly(_BLOCK)
        if not header or not header.strip(b"\0"):
            self.complete = bool(header)
            return b""
        if len(header) < _BLOCK:
            raise refused("is cut short")
        if not _is_summed(header):
            raise refused("is not a tar archive, or is damaged (a header's checksum is wrong)")
        return header

    def _extend(self, kind: bytes) -> None:
        """Takes in a header about the next entry; two that speak of the same thing are one too many."""
        if self._left > self._budget.limits.header_bytes:
            raise refused(f"holds a header of {self._left} bytes")
        data = b"".join(self.data())
        if kind in b"xg":
            records = dict(_records(data))
            if kind == b"g":
                _check_global(records)
                return
            if self._pax:
                raise refused("holds two extended headers for one entry")
            self._pax = records
        elif kind in self._long:
            raise refused("holds two long names for one entry")
        else:
            self._long[kind] = data.rstrip(b"\0")

    def _member(self, header: bytes, kind: Kind) -> Member:
        pax, self._pax = self._pax, {}
        long, self._long = self._long, {}
        if long and (b"path" in pax or b"linkpath" in pax):
            raise refused("names one entry in two ways")
        path = pax.get(b"path") or long.get(b"L") or _short_path(header)
        numbers = {name: _decimal(pax[name], name) for name in _PAX_NUMBERS & pax.keys()}
        # Only a file has bytes: the size that some writers give to links and folders is a remark.
        size = numbers.get(b"size", self._left) if kind is Kind.FILE else 0
        self._left, self._padding = size, -size % _BLOCK
        if kind is Kind.FILE and path.endswith(b"/"):
            if size:
                raise refused("holds a folder with bytes of its own")
            kind = Kind.FOLDER  # as it was written before there was a type for folders
        mtime_ns = _nanoseconds(pax[b"mtime"]) if b"mtime" in pax else _number(header[136:148], "time") * 10**9
        return Member(
            path=path,
            kind=kind,
            mode=_number(header[100:108], "mode") & 0o7777,
            uid=_owner(numbers.get(b"uid", _number(header[108:116], "owner"))),
            gid=_owner(numbers.get(b"gid", _number(header[116:124], "group"))),
            size=size,
            mtime_ns=max(0, min(mtime_ns, _LATEST_NS)),
            target=pax.get(b"linkpath") or long.get(b"K") or _text(header[157:257]),
            device=(_number(header[329:337], "device"), _number(header[337:345], "device"))
            if _is_device(kind)
            else (0, 0),
            xattrs={key.removeprefix(_XATTR): value for key, value in pax.items() if key.startswith(_XATTR)},
        )


def refused(what: str) -> UsageError:
    return UsageError(what, hint=HARM)


def _type_name(kind: bytes) -> str:
    return "a sparse file" if kind == b"S" else repr(kind.decode("latin-1"))


def _is_device(kind: Kind) -> bool:
    return kind in (Kind.CHARACTER, Kind.BLOCK)


def _is_summed(header: bytes) -> bool:
    """Whether the checksum is right: the sum of all bytes, its own field taken as blanks."""
    said = _text(header[148:156]).strip().lstrip(b"0")
    total = sum(header) - sum(header[148:156]) + 8 * 0x20
    # Some old writers summed signed bytes.
    return said == b"%o" % total or said == b"%o" % (total - 256 * sum(byte > 127 for byte in header))


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _short_path(header: bytes) -> bytes:
    """The prefix exists in POSIX's format alone: in GNU's the same bytes hold other times."""
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _number(raw: bytes, what: str) -> int:
    """Octal digits between blanks or zeros; or, with the highest bit set, a big-endian number."""
    if raw[0] == 0x80:
        return int.from_bytes(raw[1:], "big")
    if raw[0] == 0xFF:
        return int.from_bytes(raw[1:], "big") - (1 << 8 * (len(raw) - 1)) if what == "time" else _not_a(what)
    digits = _text(raw).strip()
    if digits.strip(b"01234567"):
        _not_a(what)
    return int(digits, 8) if digits else 0


def _decimal(raw: bytes, name: bytes) -> int:
    if not raw.isdigit() or len(raw) > 20:
        _not_a(name.decode())
    return int(raw)


def _not_a(what: str) -> int:
    raise refused(f"holds a {what} that is not a number")


def _owner(number: int) -> int:
    if number > _LARGEST_ID:
        raise refused(f"holds the owner or group {number}, which no file can have")
    return number


def _nanoseconds(raw: bytes) -> int:
    seconds, _, fraction = raw.partition(b".")
    if not seconds.removeprefix(b"-").isdigit() or len(seconds) > 20 or (fraction and not fraction.isdigit()):
        _not_a("time")
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records of a pax header, each `LENGTH KEY=VALUE\\n` with its own length in front."""
    at = 0
    while at < len(data):
        length, blank, _ = data[at : at + 20].partition(b" ")
        end = at + int(length) if length.isdigit() else 0
        if not blank or not at + len(length) + 1 < end <= len(data) or data[end - 1 : end] != b"\n":
            raise refused("holds an extended header that is damaged")
        key, equals, value = data[at + len(length) + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise refused("holds an extended header that is damaged")
        if key.startswith(b"GNU.sparse."):
            raise refused("holds a sparse file, which is not understood here")
        if b"\0" in value and not key.startswith(_XATTR):
            raise refused(f"holds a name with a NUL in it ({value[:100]!r})")
        yield key, value
        at = end


def _check_global(records: dict[bytes, bytes]) -> None:
    """Readers disagree on whether these hold for what follows; a comment (git's) harms nobody."""
    if any(key in _PAX_USED or key.startswith(_XATTR) for key in records):
        raise refused("holds a header that renames or changes all that follows")

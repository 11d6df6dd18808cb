"""Compressed streams that are not to be trusted: read once, in bounded pieces, counted and hashed on the way.

Limits are on what comes out. A bomb is told by how much comes out of how little, long before the disk is full; what an
honest image needs is far below (text compresses 5 to 20 times, and the first `free_bytes` are never questioned).
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from harness.errors import UsageError

HARM = "the image is damaged or was made to do harm; nothing of it was kept"
TOO_BIG = "if it is to be trusted, unpack it with another tool and import the folder"

_MIB = 1 << 20
_IN_BYTES = 256 << 10
_OUT_BYTES = _MIB
_GZIP = 16 + zlib.MAX_WBITS
_MAGIC = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd", "xz": b"\xfd7zXZ\x00"}
_XZ_MEMORY_BYTES = 256 * _MIB
_ZSTD_WINDOW_BYTES = 128 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one image may ask of this host."""

    total_bytes: int = 64 << 30
    entries: int = 2_000_000
    layers: int = 512
    ratio: int = 200
    free_bytes: int = 64 * _MIB
    header_bytes: int = _MIB
    document_bytes: int = 8 * _MIB
    path_bytes: int = 3072
    """Leaves room below PATH_MAX for where the store lies."""
    depth: int = 200
    """Of folders; every tool that walks the tree holds a descriptor or a stack frame for each."""


class Budget:
    """What is left of the limits, over all layers of one image."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bytes = 0
        self._entries = 0

    def spend_bytes(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self.limits.total_bytes:
            raise UsageError(f"unpacks to more than {self.limits.total_bytes >> 20} MiB", hint=TOO_BIG)

    def spend_entry(self) -> None:
        self._entries += 1
        if self._entries > self.limits.entries:
            raise UsageError(f"has more than {self.limits.entries} entries", hint=TOO_BIG)


def compression_of(start: bytes) -> str:
    """What a file that starts like this is compressed with: gzip, zstd, xz, or an empty word."""
    return next((name for name, magic in _MAGIC.items() if start.startswith(magic)), "")


class Unpacked:
    """What a file holds once decompressed. `packed_bytes` is the file's size, `digest` that of all that was read."""

    def __init__(self, file: BinaryIO, compression: str, packed_bytes: int, budget: Budget) -> None:
        self._chunks = _CHUNKS[compression](file)
        self._packed_bytes = packed_bytes
        self._budget = budget
        self._sha256 = hashlib.sha256()
        self._chunk = memoryview(b"")
        self.total_bytes = 0

    def some(self, most: int) -> memoryview:
        """At least one byte and at most that many; none at the end."""
        if not self._chunk:
            self._chunk = memoryview(self._next())
        piece, self._chunk = self._chunk[:most], self._chunk[most:]
        return piece

    def exactly(self, count: int) -> bytes:
        """That many bytes; fewer only at the end."""
        data = bytearray()
        while len(data) < count and (piece := self.some(count - len(data))):
            data += piece
        return bytes(data)

    def drain(self) -> str:
        """Reads what is left, and returns the digest of the whole."""
        while self.some(_OUT_BYTES):
            pass
        return f"sha256:{self._sha256.hexdigest()}"

    def _next(self) -> bytes:
        try:
            chunk = next(filter(None, self._chunks), b"")
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError) as error:
            raise UsageError(f"its compressed data is damaged ({error})", hint=HARM) from None
        self.total_bytes += len(chunk)
        self._budget.spend_bytes(len(chunk))
        limits = self._budget.limits
        if self.total_bytes > limits.free_bytes + limits.ratio * self._packed_bytes:
            message = f"unpacks to more than {limits.ratio} times its {self._packed_bytes} bytes"
            raise UsageError(message, hint=TOO_BIG)
        self._sha256.update(chunk)
        return chunk


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_OUT_BYTES):
        yield data


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    """One member after the other, as gzip itself does; zeros after the last one are padding."""
    data = file.read(_IN_BYTES)
    while data:
        member, ended = zlib.decompressobj(wbits=_GZIP), False
        while not ended:
            yield (out := member.decompress(data, _OUT_BYTES))
            ended = member.eof
            data = member.unconsumed_tail or (b"" if ended else file.read(_IN_BYTES))
            if not data and not out and not ended:
                raise EOFError("it ends too early")
        data = _without_padding(member.unused_data, file)


def _without_padding(data: bytes, file: BinaryIO) -> bytes:
    """The next member's start, or nothing when only zeros follow."""
    while not (data := data.lstrip(b"\0")):
        if not (data := file.read(_IN_BYTES)):
            return b""
    return data


def _xz(file: BinaryIO) -> Iterator[bytes]:
    data = file.read(_IN_BYTES)
    while data:
        member, ended = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES), False
        while not ended:
            yield member.decompress(data, _OUT_BYTES)
            ended, data = member.eof, b""
            if member.needs_input and not ended and not (data := file.read(_IN_BYTES)):
                raise EOFError("it ends too early")
        data = _without_padding(member.unused_data, file)


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    """The library does not tell a frame that was cut short from its end: what reads the tar archive must."""
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
        file, read_across_frames=True, closefd=False
    )
    while data := reader.read(_OUT_BYTES):
        yield data


_CHUNKS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {"": _plain, "gzip": _gzip, "xz": _xz, "zstd": _zstd}

"""A list of kernel calls, written by the zygote and made by a box's first process: all of its way from clone to exec.

So what a start does is a value that is complete before anything is done, and who makes the calls needs neither memory
nor an interpreter of its own (machine.py). A call is twelve words:

  0      number of the call, or COMPARE: (first argument & second) must be the third, else the fourth is the error
  1–6    arguments
  7      where in the area the first argument is to be read from instead; 0: as it is
  8      where in the area the result is to be put; 0: nowhere
  9      bits of the errors that are expected (bit n is error n, below 63); -1: all
  10     after one of those: how far to go on, in bytes
  11     after any other: the same; 0: to the calls that tell the failure

Places in the area are given as offsets, of which the first is the area's own header; see machine.py.
"""

from __future__ import annotations

import errno
import struct
from ctypes import c_char_p, c_void_p

from runtimes.container.numbers import NUMBERS

COMPARE = -1
CALL_WORDS = 12
CALL_BYTES = CALL_WORDS * 8
CALL_ON = 7
ANY_ERROR = -1
AT_FDCWD = -100

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 4


class Place(int):
    """An offset in the area, to become an address there."""


Value = int | bytes | Place
"""Bytes are passed by their address, and end with a zero where the kernel wants that: Python puts one after them."""

CONTEXT, MOUNT, RESULT, REPORT = Place(64), Place(72), Place(80), Place(88)
"""Where the file system in the making, the mount to be placed and the last result asked for are, and where to a failure
is told, by one byte."""

DEV, PTS, SHM = Place(96), Place(104), Place(112)
"""The mounts that were made ahead."""

TERMINAL = Place(120)
"""Where the box's own end of its terminal is."""

ERROR_MET = Place(24)
"""Where the zygote puts an error that it met on the box's behalf, before it opens the gate."""

BUFFER, SPACE, PATH, PATH_BYTES = Place(1792), Place(2048), Place(4096), 4096
"""What a call tells about a file; room for `put`; room for a path."""


class Calls:
    """Calls in the order in which they are to be made. `step` names those that follow as "could not …" wants it."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.names: list[tuple[str, str]] = []
        """Of each call: the step it is part of, and what it does where that says more; see `Failure`."""
        self.places: list[int] = []
        self.data: list[tuple[int, list[Value]]] = []
        self.kept: list[bytes] = []
        """What the words point to."""
        self._step = "begin"
        self._packed: bytes | None = None

    def packed(self) -> bytes:
        return self._packed or struct.pack(f"={len(self.words)}q", *self.words)

    def keep(self) -> Calls:
        """Packed once, for the many boxes for which they are the same."""
        self._packed = self.packed()
        return self

    def step(self, name: str) -> None:
        self._step = name

    def call(
        self,
        name: str,
        *arguments: Value,
        on: int = 0,
        store: int = 0,
        expected: int = 0,
        skip: int = 0,
        doing: str = "",
    ) -> None:
        """`on` and `store`: places of the first argument and for the result. `expected`: an error that is none, after
        which that many calls are passed over."""
        mask = expected if expected < 0 else (1 << expected) & ~1
        self._add(_number(name), arguments, (on, store, mask, (skip + 1) * CALL_BYTES, 0), doing)

    def compare(self, at: int, mask: int, value: int, error: int, doing: str = "") -> None:
        """Goes on if the word at that place is that value under that mask, else fails with that error."""
        self._add(COMPARE, (0, mask, value, error), (at, 0, 0, 0, 0), doing)

    def skip(self, count: int) -> None:
        """Passes over that many calls."""
        self._add(COMPARE, (0, 0, 1, 1), (0, 0, ANY_ERROR, (count + 1) * CALL_BYTES, 0), "")

    def try_one(self, name: str, *arguments: Value, expected: tuple[int, ...]) -> None:
        """A call that is not come back from unless it fails; with any error the next one is made, but only an error
        that is not expected is remembered."""
        mask = sum(1 << error for error in expected)
        self._add(_number(name), arguments, (0, 0, mask, CALL_BYTES, CALL_BYTES), "")

    def put(self, at: int, *values: Value) -> None:
        """Words that are in the area before the first call is made."""
        self.data.append((at, list(values)))

    def pointers(self, values: list[bytes]) -> bytes:
        """A list of addresses as execve(2) wants it."""
        self.kept += map(whole, values)
        return b"".join(struct.pack("=q", address(value)) for value in values) + bytes(8)

    def new_filesystem(self, kind: str, options: tuple[tuple[str, str], ...], attributes: int) -> None:
        """fsopen, fsconfig and fsmount; leaves the mount at MOUNT. The descriptors end with exec."""
        self.call("fsopen", kind.encode(), _FSOPEN_CLOEXEC, store=CONTEXT, doing=kind)
        for key, value in options:
            arguments = (0, _FSCONFIG_SET_STRING, key.encode(), encoded(value), 0)
            self.call("fsconfig", *arguments, on=CONTEXT, doing=f"{kind} with {key} {value}")
        self.call("fsconfig", 0, _FSCONFIG_CMD_CREATE, 0, 0, 0, on=CONTEXT, doing=kind)
        self.call("fsmount", 0, _FSMOUNT_CLOEXEC, attributes, on=CONTEXT, store=MOUNT, doing=kind)

    def move_mount(self, path: str, *, mount: int = MOUNT, expected: int = 0, skip: int = 0) -> None:
        """Puts the mount at that place in the area there."""
        arguments = (0, b"", AT_FDCWD, encoded(path), MOVE_MOUNT_F_EMPTY_PATH)
        self.call("move_mount", *arguments, on=mount, expected=expected, skip=skip, doing=f"mount on {path}")

    def _add(self, number: int, arguments: tuple[Value, ...], rest: tuple[int, ...], doing: str) -> None:
        words = self.words
        words.append(number)
        for argument in arguments:
            if isinstance(argument, bytes):
                self.kept.append(argument)
                argument = address(argument)
            elif isinstance(argument, Place):
                self.places.append(len(words))
            words.append(argument)
        words += _NONE[len(arguments) :]
        words += rest
        self.names.append((self._step, doing))


_NONE = (0,) * 6


def address(data: bytes) -> int:
    """Where the bytes lie; they must be kept as long as the kernel is to look at them."""
    pointer = c_char_p(data)
    return c_void_p.from_buffer(pointer).value or 0


def _number(name: str) -> int:
    """OSError for a call that this machine's libseccomp has not heard of: its -1 would be taken for COMPARE."""
    number = NUMBERS[name]
    if number < 0:
        raise OSError(errno.ENOSYS, f"libseccomp does not know {name}")
    return number


def encoded(text: str) -> bytes:
    """As the kernel is told it, which would take a zero for its end: ValueError for one."""
    return whole(text.encode(errors="surrogateescape"))


def whole(word: bytes) -> bytes:
    """The same word, if the kernel would read all of it; else ValueError."""
    if b"\0" in word:
        raise ValueError(f"there is a null byte in {word[:100]!r}")
    return word

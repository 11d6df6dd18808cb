"""What makes the calls of a list (calls.py): on x86-64 a few instructions of the processor's own, else Python.

A box's first process used to be a copy of the zygote that ran Python: copying the page tables, then every page it
touched, and releasing it all took longer than the calls themselves. Now it is not a copy. It shares the zygote's
memory, of which it reads its list and writes a few words of its area, runs the loop below and needs nothing else, not
even a stack. The zygote meanwhile goes on, and learns from the area what went wrong.

A list can also be run by a copy of the zygote, in Python; that is the same loop again and says best what it does. It is
for other processors, for kernels that forbid memory to become executable, and for boxes in which the kernel could run
out of memory before the program is executed: it would kill whoever shares memory with its victim.

An area, in bytes: 0 error, 8 the failed call, 16 not zero once the failure was told, 24 an error the zygote met on the
box's behalf; places of results; 512 the calls that tell a failure; 1024 the kernel's words about it; 1792 buffers; 4096
a path; 8192 the list.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Sequence
from ctypes import PYFUNCTYPE, c_long, c_size_t, c_void_p
from typing import NoReturn

from runtimes.container import syscalls as sys_
from runtimes.container.calls import (
    ANY_ERROR,
    CALL_BYTES,
    CALL_ON,
    CALL_WORDS,
    COMPARE,
    CONTEXT,
    ERROR_MET,
    REPORT,
    Calls,
    Place,
    address,
)
from runtimes.container.plan import Failure

_ERROR, _FAILED, _TOLD = 0, 8, 16
_TELLING, _WORDS, _WORDS_BYTES, _SAYINGS, _LIST = 512, 1024, 256, 3, 8192
_AREA_BYTES = 128 << 10
_HEADER = struct.Struct("=4q")

LISTING = """
b8 b3 01 00 00        mov eax, 435            # clone3, with the caller's first two arguments
0f 05                 syscall
48 85 c0              test rax, rax
74 01                 je child
c3                    ret                     # the zygote: the child's number, or an error
49 89 d4              child: mov r12, rdx     # the third: the area
48 8d 9a 00 20 00 00  lea rbx, [rdx + 8192]   # the first call of the list
48 8b 7b 08           next: mov rdi, [rbx + 8]
48 8b 43 38           mov rax, [rbx + 56]
48 85 c0              test rax, rax
74 04                 je given
49 8b 3c 04           mov rdi, [r12 + rax]
48 8b 73 10           given: mov rsi, [rbx + 16]
48 8b 53 18           mov rdx, [rbx + 24]
4c 8b 53 20           mov r10, [rbx + 32]
4c 8b 43 28           mov r8, [rbx + 40]
4c 8b 4b 30           mov r9, [rbx + 48]
48 8b 03              mov rax, [rbx]
48 85 c0              test rax, rax
78 1d                 js compare
0f 05                 syscall
48 3d 01 f0 ff ff     cmp rax, -4095
73 20                 jae failed
48 8b 4b 40           mov rcx, [rbx + 64]
48 85 c9              test rcx, rcx
74 04                 je done
49 89 04 0c           mov [r12 + rcx], rax
48 83 c3 60           done: add rbx, 96
eb b6                 jmp next
48 21 fe              compare: and rsi, rdi
48 39 d6              cmp rsi, rdx
74 f2                 je done
4c 89 d0              mov rax, r10
eb 03                 jmp judge
48 f7 d8              failed: neg rax
48 8b 4b 48           judge: mov rcx, [rbx + 72]
48 83 f9 ff           cmp rcx, -1
74 0c                 je expected
48 83 f8 3f           cmp rax, 63
77 0c                 ja report
48 0f a3 c1           bt rcx, rax
73 06                 jnc report
48 03 5b 50           expected: add rbx, [rbx + 80]
eb 8a                 jmp next
49 89 04 24           report: mov [r12], rax
48 89 d9              mov rcx, rbx
4c 29 e1              sub rcx, r12
49 89 4c 24 08        mov [r12 + 8], rcx
48 8b 43 58           mov rax, [rbx + 88]
48 85 c0              test rax, rax
74 08                 je give_up
48 01 c3              add rbx, rax
e9 6a ff ff ff        jmp next
49 8d 9c 24 00 02 00 00  give_up: lea rbx, [r12 + 512]
e9 5d ff ff ff        jmp next
"""
"""The instructions beside the bytes they are; a test has them assembled."""


def instructions() -> bytes:
    return b"".join(bytes.fromhex(line.partition("  ")[0]) for line in LISTING.strip().splitlines())


class Area:
    """A list about to be run, and what became of it. Shared with whoever runs it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _AREA_BYTES)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._parts: Sequence[Calls] = ()
        self._write(_TELLING, _TELL)

    def load(self, parts: Sequence[Calls]) -> None:
        """Writes the list, whose end is only come to if no program is executed for want of one. Nobody may be running
        the one before."""
        count = sum(len(part.names) for part in parts)
        if (count + len(_TELL.names)) * CALL_BYTES > _AREA_BYTES - _LIST:
            raise OSError(errno.E2BIG, f"its start would take {count} calls")
        self._parts = parts
        _HEADER.pack_into(self._memory, 0, errno.ENOENT, _LIST + (count - 1) * CALL_BYTES, 0, 0)
        self._memory[_WORDS : _WORDS + _SAYINGS * _WORDS_BYTES] = bytes(_SAYINGS * _WORDS_BYTES)
        self.put(CONTEXT, -1)
        at = _LIST
        for part in (*parts, _TELL):
            at = self._write(at, part)

    def put(self, at: int, *values: int) -> None:
        struct.pack_into(f"={len(values)}q", self._memory, at, *values)

    def failure(self) -> Failure | None:
        """What went wrong; None if the program was executed, or the process killed."""
        error, failed, told, met = _HEADER.unpack_from(self._memory)
        if not told:
            return None
        names = [name for part in self._parts for name in part.names]
        step, doing = names[(failed - _LIST) // CALL_BYTES]
        number, on = (struct.unpack_from("=q", self._memory, failed + at)[0] for at in (0, 8 * CALL_ON))
        if (number, on) == (COMPARE, ERROR_MET):
            error = met
        said = self._said() or os.strerror(error)
        return Failure(step, error, f"{doing}: {said}" if doing else said)

    def run(self) -> NoReturn:
        """In a copy of the zygote: what the instructions do, over again."""
        words = memoryview(self._memory).cast("q")
        at = _LIST // 8
        while True:
            number, *arguments, on, store, mask, expected, failed = words[at : at + CALL_WORDS].tolist()
            if on:
                arguments[0] = words[on // 8]
            result, code = _compare(arguments) if number == COMPARE else sys_.call(number, arguments)
            if not code:
                if store:
                    words[store // 8] = result
                at += CALL_WORDS
            elif mask == ANY_ERROR or (code <= 63 and mask >> code & 1):
                at += expected // 8
            else:
                words[_ERROR // 8], words[_FAILED // 8] = code, at * 8
                at = at + failed // 8 if failed else _TELLING // 8

    def _write(self, at: int, part: Calls) -> int:
        packed = part.packed()
        end = at + len(packed)
        self._memory[at:end] = packed
        for index in part.places:
            self.put(at + 8 * index, self.base + part.words[index])
        for place, values in part.data:
            self.put(place, *[self._value(value) for value in values])
        return end

    def _value(self, value: bytes | int) -> int:
        if isinstance(value, bytes):
            return address(value)
        return self.base + value if isinstance(value, Place) else value

    def _said(self) -> str:
        """The first error a file system told of; the kernel says one a time."""
        for at in range(_WORDS, _WORDS + _SAYINGS * _WORDS_BYTES, _WORDS_BYTES):
            level, _, text = (
                self._memory[at : at + _WORDS_BYTES].partition(b"\0")[0].decode(errors="replace").partition(" ")
            )
            if level == "e":
                return text.strip()
        return ""


def _compare(arguments: Sequence[int]) -> tuple[int, int]:
    value, mask, wanted, error, *_ = arguments
    return 0, 0 if value & mask == wanted else error


def _telling() -> Calls:
    calls = Calls()
    for number in range(_SAYINGS):
        calls.call("read", 0, Place(_WORDS + number * _WORDS_BYTES), _WORDS_BYTES - 1, on=CONTEXT, expected=ANY_ERROR)
    calls.call("write", 0, b"!", 1, on=REPORT, store=_TOLD, expected=ANY_ERROR)
    calls.call("exit_group", 127)
    return calls


_TELL = _telling()


class Runner:
    """The instructions, ready to be run; `shares` is whether there are any."""

    def __init__(self) -> None:
        self.shares = False
        if os.uname().machine != "x86_64":
            return
        self._code = mmap.mmap(-1, mmap.PAGESIZE)
        self._code.write(instructions())
        at = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        try:
            sys_.make_executable(at, mmap.PAGESIZE)
        except OSError:
            return
        self._start = PYFUNCTYPE(c_long, c_void_p, c_size_t, c_long)(at)
        self.shares = True

    def start(self, flags: int, cgroup_fd: int | None, area: Area) -> tuple[int, int]:
        """A process that shares memory with this one and runs the list: its number and pidfd."""
        arguments, pidfd = sys_.clone_arguments(flags | sys_.CLONE_VM | sys_.CLONE_CLEAR_SIGHAND, cgroup_fd)
        pid = self._start(arguments, len(arguments), area.base)
        if pid < 0:
            raise OSError(-pid, f"clone3: {os.strerror(-pid)}")
        return pid, pidfd.value

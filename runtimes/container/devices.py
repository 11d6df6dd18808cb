"""Which devices a box may use, as a small BPF program at its v2 cgroup: those in its /dev, whatever node it finds.

A second wall: a box cannot make device nodes (no CAP_MKNOD) and none on its root would work (`nodev`). One program
serves all boxes; attaching it takes microseconds. A hybrid host has the v2 cgroup too, so the v1 `devices` controller,
which would want a folder and nine writes for every box, is not used. On a pure v1 host the first wall stands alone.
"""

from __future__ import annotations

import struct

from runtimes.container import syscalls as sys_

_CHARACTER_DEVICE = 2
_ALLOWED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2))  # null zero full random urandom tty ptmx
_TERMINALS = 136
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD, _LOAD_SHORT, _IF_EQUAL, _IF_DIFFERENT, _SET, _EXIT = 0x61, 0x69, 0x15, 0x55, 0xB7, 0x95
_RESULT, _CONTEXT, _KIND, _MAJOR, _MINOR = 0, 1, 2, 3, 4

_Instruction = tuple[int, int, int, int]
"""Code, registers (the source in the upper half), how many instructions to skip or where to load, value."""


def program() -> bytes:
    """For BPF_PROG_TYPE_CGROUP_DEVICE, whose context is three words: kind (lower half) and access, major, minor."""
    refuse, allow = _answer(0), _answer(1)
    instructions = [
        (_LOAD_SHORT, _KIND | _CONTEXT << 4, 0, 0),
        (_LOAD, _MAJOR | _CONTEXT << 4, 4, 0),
        (_LOAD, _MINOR | _CONTEXT << 4, 8, 0),
        (_IF_EQUAL, _KIND, len(refuse), _CHARACTER_DEVICE),
        *refuse,
        (_IF_DIFFERENT, _MAJOR, len(allow), _TERMINALS),
        *allow,
    ]
    for major, minor in _ALLOWED:
        instructions += [
            (_IF_DIFFERENT, _MAJOR, 1 + len(allow), major),
            (_IF_DIFFERENT, _MINOR, len(allow), minor),
            *allow,
        ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in (*instructions, *refuse))


def _answer(value: int) -> tuple[_Instruction, _Instruction]:
    return (_SET, _RESULT, 0, value), (_EXIT, 0, 0, 0)


def load() -> int:
    """The program as a descriptor, to be attached to any number of cgroups."""
    return sys_.load_bpf(sys_.BPF_PROG_TYPE_CGROUP_DEVICE, program())

"""The last steps before a program is executed: what is given up, in the order in which each is still possible."""

from __future__ import annotations

import os
import struct

from runtimes.container import syscalls as sys_
from runtimes.container.calls import Calls, address

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_FILTER_PROGRAM = struct.Struct("@HP")
_INSTRUCTION_BYTES = 8
_CAPABILITY_VERSION_3 = 0x2008_0522
_CAPABILITY_HEADER = struct.Struct("=Ii")
_CAPABILITIES = struct.Struct("=6I")


def _last_capability() -> int:
    descriptor = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 16))
    finally:
        os.close(descriptor)


_KNOWN_CAPABILITIES = range(_last_capability() + 1)
"""This kernel's; read when the zygote loads this, since a box's /proc is no place to ask."""


def bound(mask: int) -> None:
    """What no program that is executed from here on can have, whoever's it is; nor is anything handed on.

    The zygote does it for all boxes: thirty calls of some microseconds. What it can do itself stays as it is.
    """
    for number in _KNOWN_CAPABILITIES:
        if not mask >> number & 1:
            sys_.prctl(sys_.PR_CAPBSET_DROP, number)
    sys_.prctl(sys_.PR_CAP_AMBIENT, sys_.PR_CAP_AMBIENT_CLEAR_ALL)


def keep_only(calls: Calls, mask: int) -> None:
    """The last of the five sets: permitted and effective become the mask, inheritable empty."""
    low, high = mask & 0xFFFF_FFFF, mask >> 32
    calls.call(
        "capset", _CAPABILITY_HEADER.pack(_CAPABILITY_VERSION_3, 0), _CAPABILITIES.pack(low, low, 0, high, high, 0)
    )


def confine(calls: Calls, program: bytes) -> None:
    """No program gains privileges by being executed any more; then the filter, after which only `execve` comes."""
    calls.call("prctl", sys_.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    calls.kept.append(program)
    counted = _FILTER_PROGRAM.pack(len(program) // _INSTRUCTION_BYTES, address(program))
    calls.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, counted, 0, 0)

"""The last steps before a program is executed: what is given up, in the order in which each is still possible."""

from __future__ import annotations

import os

from runtimes.container import syscalls as sys_


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


def keep_only(mask: int) -> None:
    """The last of the five sets: permitted and effective become the mask, inheritable empty."""
    sys_.capset(mask)


def confine(program: bytes) -> None:
    """No program gains privileges by being executed any more; then the filter, after which only `execve` comes."""
    sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
    sys_.load_filter(program)

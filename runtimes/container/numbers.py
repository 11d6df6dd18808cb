"""The numbers of the kernel calls a box's first process makes, which is given them as numbers; see calls.py.

On x86-64 they stand here, and a test holds them against libseccomp's; elsewhere libseccomp, which the filter of system
calls needs in any case, is asked once when the zygote starts.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

X86_64 = {
    "read": 0,
    "write": 1,
    "close": 3,
    "rt_sigaction": 13,
    "ioctl": 16,
    "sendmsg": 46,
    "execve": 59,
    "getcwd": 79,
    "chdir": 80,
    "umask": 95,
    "setsid": 112,
    "setgroups": 116,
    "setresuid": 117,
    "setresgid": 119,
    "capset": 126,
    "fstatfs": 138,
    "pivot_root": 155,
    "prctl": 157,
    "mount": 165,
    "umount2": 166,
    "sethostname": 170,
    "sched_setaffinity": 203,
    "getdents64": 217,
    "exit_group": 231,
    "openat": 257,
    "mkdirat": 258,
    "ppoll": 271,
    "unshare": 272,
    "dup3": 292,
    "setns": 308,
    "statx": 332,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "close_range": 436,
}


def of(machine: str) -> Mapping[str, int]:
    """By name, for that kind of machine, which must be the one this runs on unless it is x86_64."""
    return X86_64 if machine == "x86_64" else resolved()


def resolved() -> Mapping[str, int]:
    """As libseccomp knows them for this machine."""
    resolve = ctypes.PyDLL("libseccomp.so.2").seccomp_syscall_resolve_name
    resolve.argtypes, resolve.restype = [ctypes.c_char_p], ctypes.c_int
    return {name: resolve(name.encode()) for name in X86_64}


NUMBERS = of(os.uname().machine)

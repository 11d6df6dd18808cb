"""The kernel calls a container is made of, under the kernel's own names, for Python that has not got them.

Each takes Python types and raises OSError with the call's name. Only the zygote and its children load this module:
`PyDLL` keeps the interpreter's lock, without which a child made by a raw `clone3` could wait for a lock nobody holds.
Numbers at and above 424 are the same on every architecture, the few below are looked up.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_long, c_size_t, c_ulong, c_void_p
from typing import Any

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
CLONE_VM = 0x100
CLONE_PIDFD = 0x1000
CLONE_CLEAR_SIGHAND = 0x1_0000_0000
CLONE_INTO_CGROUP = 0x2_0000_0000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x8_0000
MNT_DETACH = 2

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8

CLOSE_RANGE_CLOEXEC = 4
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SIGKILL = 9
SIGPIPE = 13
SIGCHLD = 17
SIGXFSZ = 25
AT_FDCWD = -100

_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_NR_BPF = {"x86_64": 321, "s390x": 351, "ppc64le": 361}.get(os.uname().machine, 280)
_NR_PIDFD_SEND_SIGNAL = 424
_NR_OPEN_TREE = 428
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_CLONE3 = 435
_NR_CLOSE_RANGE = 436
_NR_MOUNT_SETATTR = 442
_CLONE_ARGS = struct.Struct("=11Q")
_BPF_PROG_LOAD, _BPF_PROG_ATTACH = 5, 8
_BPF_LOAD = struct.Struct("=IIQQIIQ88x")
_BPF_ATTACH = struct.Struct("=IIII112x")
_LICENCE = b"Apache-2.0"
_MESSAGE_BYTES = 4096
_PROT_READ, _PROT_EXEC = 1, 4
_OPEN_TREE_CLONE, _AT_EMPTY_PATH, _AT_RECURSIVE = 1, 0x1000, 0x8000
_MOUNT_ATTRIBUTES = struct.Struct("=4Q")  # to set, to clear, propagation, user namespace

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.prctl.argtypes = [c_int, c_ulong, c_ulong, c_ulong, c_ulong]
_libc.unshare.argtypes = [c_int]
_libc.setns.argtypes = [c_int, c_int]
_libc.mprotect.argtypes = [c_void_p, c_size_t, c_int]
_libc.mount.argtypes = [c_char_p, c_char_p, c_char_p, c_ulong, c_void_p]


def _raw(name: str, *argtypes: type[Any]) -> ctypes._NamedFuncPointer:
    """`syscall(2)` with its arguments' types set once: setting them per call costs more than the call."""
    function = _libc["syscall"]  # a new object each time, unlike the attribute
    function.__name__ = name
    function.argtypes = [c_long, *argtypes]
    function.restype = c_long
    return function


_pidfd_send_signal = _raw("pidfd_send_signal", c_int, c_int, c_void_p, c_ulong)
_open_tree = _raw("open_tree", c_int, c_char_p, c_ulong)
_mount_setattr = _raw("mount_setattr", c_int, c_char_p, c_ulong, c_char_p, c_size_t)
_fsopen = _raw("fsopen", c_char_p, c_ulong)
_fsconfig = _raw("fsconfig", c_int, c_ulong, c_char_p, c_char_p, c_int)
_fsmount = _raw("fsmount", c_int, c_ulong, c_ulong)
_bpf = _raw("bpf", c_int, c_char_p, c_size_t)
_clone3 = _raw("clone3", c_char_p, c_size_t)
_close_range = _raw("close_range", c_ulong, c_ulong, c_ulong)
_any = _raw("syscall", *[c_long] * 6)


def _checked(function: ctypes._NamedFuncPointer, *arguments: object) -> int:
    result: int = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")
    return result


def _address(data: bytes) -> int | None:
    """Where the bytes lie; they must be kept by the caller as long as the kernel looks at them."""
    return ctypes.cast(ctypes.c_char_p(data), c_void_p).value


def clone_arguments(flags: int, cgroup_fd: int | None) -> tuple[bytes, c_int]:
    """For `clone3`, and where it will put the pidfd."""
    pidfd = c_int(-1)
    flags |= CLONE_PIDFD
    if cgroup_fd is not None:
        flags |= CLONE_INTO_CGROUP
    return _CLONE_ARGS.pack(flags, ctypes.addressof(pidfd), 0, 0, SIGCHLD, 0, 0, 0, 0, 0, cgroup_fd or 0), pidfd


def clone3(flags: int, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Like fork, into new namespaces and straight into a v2 cgroup: (0, -1) in the child, (pid, pidfd) in the parent.

    The caller must have a single thread, and its child must call nothing that takes a lock another thread could hold.
    """
    arguments, pidfd = clone_arguments(flags, cgroup_fd)
    pid = _checked(_clone3, _NR_CLONE3, arguments, len(arguments))
    return pid, pidfd.value


def call(number: int, arguments: Sequence[int]) -> tuple[int, int]:
    """Any call: what it returned, and 0 or its error."""
    result: int = _any(number, *arguments)
    return result, ctypes.get_errno() if result == -1 else 0


def make_executable(at: int, size: int) -> None:
    """Instructions that are complete: from now on they can be run, and not be written any more."""
    _checked(_libc.mprotect, at, size, _PROT_READ | _PROT_EXEC)


def unshare(flags: int) -> None:
    _checked(_libc.unshare, flags)


def setns(descriptor: int, flags: int) -> None:
    """Into those namespaces of a process, by its pidfd, or into one by its own descriptor."""
    _checked(_libc.setns, descriptor, flags)


def prctl(option: int, value: int) -> None:
    _checked(_libc.prctl, option, value, 0, 0, 0)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    _checked(_pidfd_send_signal, _NR_PIDFD_SEND_SIGNAL, pidfd, signal, None, 0)


def close_range(first: int, flags: int) -> None:
    """From `first` to the highest descriptor there is."""
    _checked(_close_range, _NR_CLOSE_RANGE, first, 0xFFFF_FFFF, flags)


def set_propagation(path: str, flags: int) -> None:
    """mount(2) where it only changes how mounts spread."""
    _checked(_libc.mount, b"none", os.fsencode(path), None, flags, None)


def load_bpf(kind: int, program: bytes) -> int:
    """A program as a descriptor, for `attach_bpf`."""
    request = _BPF_LOAD.pack(kind, len(program) // 8, _address(program), _address(_LICENCE), 0, 0, 0)
    return _checked(_bpf, _NR_BPF, _BPF_PROG_LOAD, request, len(request))


def attach_bpf(program_fd: int, cgroup_fd: int, attach_type: int) -> None:
    request = _BPF_ATTACH.pack(cgroup_fd, program_fd, attach_type, 0)
    _checked(_bpf, _NR_BPF, _BPF_PROG_ATTACH, request, len(request))


def new_filesystem(kind: str, options: tuple[tuple[str, str], ...], attributes: int) -> int:
    """fsopen, fsconfig and fsmount: a mount that is nowhere yet, as a descriptor to reach into or to move.

    OSError says which option was refused, and what the file system itself said about it, where it said anything.
    """
    context = _checked(_fsopen, _NR_FSOPEN, kind.encode(), FSOPEN_CLOEXEC)
    doing = kind
    try:
        for key, value in options:
            doing = f"{kind} with {key} {value}"
            _checked(_fsconfig, _NR_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
        doing = kind
        _checked(_fsconfig, _NR_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _checked(_fsmount, _NR_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        raise OSError(error.errno, f"{doing}: {_said(context) or error.strerror}") from None
    finally:
        os.close(context)


def _said(context: int) -> str:
    """The first error in a file system context's own log; each read takes one message, no more is ENODATA."""
    try:
        while True:
            level, _, text = os.read(context, _MESSAGE_BYTES).decode(errors="replace").partition(" ")
            if level == "e":
                return text.strip()
    except OSError:
        return ""


def clone_tree(path: str) -> int:
    """A copy of the mounts from there on, as a descriptor: a bind mount that is nowhere yet."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _checked(_open_tree, _NR_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)


def make_read_only(mount_fd: int) -> None:
    """All the mounts of that tree."""
    wanted = _MOUNT_ATTRIBUTES.pack(MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    _checked(_mount_setattr, _NR_MOUNT_SETATTR, mount_fd, b"", flags, wanted, len(wanted))

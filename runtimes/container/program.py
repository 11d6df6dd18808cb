"""How a box's program starts, in a new box or in one that runs: its streams or its terminal, user, folder, file.

No path is trusted to be what it is called: all of them are the box's by now.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from _socket import CMSG_LEN, CMSG_SPACE, SCM_RIGHTS, SOL_SOCKET

from runtimes.container import syscalls as sys_
from runtimes.container.calls import AT_FDCWD, PATH, PATH_BYTES, SPACE, TERMINAL, Calls, Place, encoded
from runtimes.container.masks import require_device
from runtimes.container.plan import Plan

_MULTIPLEXER = b"/dev/pts/ptmx"
_MULTIPLEXER_DEVICE = (5, 2)
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_AT_EMPTY_PATH = 0x1000
_RIGHTS = Place(SPACE + 256)
_MASTER = Place(_RIGHTS + CMSG_LEN(0))
_DEFAULT_ACTION = b"\0" * 32
_SIGNAL_SET_BYTES = 8
_MISSING = (errno.ENOENT, errno.ENOTDIR)


def take_streams(calls: Calls, plan: Plan, streams: tuple[int, int, int]) -> None:
    """A session of its own, and standard streams.

    With a terminal, the first stream is a socket over which its other end goes to whoever asked for the box.
    """
    calls.call("setsid")
    if plan.terminal:
        _open_terminal(calls, streams[0])
        calls.call("ioctl", 0, _TIOCSCTTY, 0, on=TERMINAL)
    for target, source in enumerate(streams):
        calls.call("dup3", source, target, 0, on=TERMINAL if plan.terminal else 0)


def leave_nothing(calls: Calls) -> None:
    """No descriptor but the streams, no mask of ours, no signal ignored."""
    calls.call("umask", 0o022)
    calls.call("close_range", 3, 0xFFFF_FFFF, sys_.CLOSE_RANGE_CLOEXEC)
    for signal in (sys_.SIGPIPE, sys_.SIGXFSZ):  # which Python's own start sets; ignored they stay so across exec
        calls.call("rt_sigaction", signal, _DEFAULT_ACTION, 0, _SIGNAL_SET_BYTES)


def _open_terminal(calls: Calls, console: int) -> None:
    """From the multiplexer itself, never by a terminal's name: in a box that runs, names are the box's to choose."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    calls.put(_RIGHTS, *struct.unpack("=2q", struct.pack("@Nii", CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS)), 0)
    message = Place(_RIGHTS + 64)
    letter, letters = b"t", Place(_RIGHTS + 128)
    calls.kept.append(letter)
    calls.put(letters, letter, 1)
    calls.put(message, 0, 0, letters, 1, _RIGHTS, CMSG_SPACE(4), 0)
    calls.call("openat", AT_FDCWD, _MULTIPLEXER, flags | os.O_NOFOLLOW, store=_MASTER)
    require_device(calls, 0, b"", _MULTIPLEXER_DEVICE, _AT_EMPTY_PATH, on=_MASTER)
    calls.call("ioctl", 0, _TIOCSPTLCK, b"\0" * 4, on=_MASTER)
    calls.call("ioctl", 0, _TIOCGPTPEER, flags, on=_MASTER, store=TERMINAL)
    calls.call("sendmsg", console, message, 0)


def become_user(calls: Calls, plan: Plan) -> None:
    """Groups first, since the user may not; the kernel takes all capabilities from anyone but root.

    It also forgets to end the process with its parent: said again, by whoever calls this.
    """
    if plan.user:
        user, group, *others = plan.user
        groups = (group, *others)
        calls.call("setgroups", len(groups), struct.pack(f"={len(groups)}I", *groups))
        calls.call("setresgid", group, group, group)
        calls.call("setresuid", user, user, user)
    if plan.working_dir:
        calls.call("chdir", encoded(plan.working_dir))
        calls.call("getcwd", PATH, PATH_BYTES)
        first, mask = (int.from_bytes(sign + b"\0" * 7, sys.byteorder) for sign in (b"/", b"\xff"))
        calls.compare(PATH, mask, first, errno.ENOENT, doing=f"{plan.working_dir} is not in the box")


def execute(calls: Calls, plan: Plan) -> None:
    """A name without a slash is looked for along PATH, as a shell would."""
    name = plan.argv[0]
    folders = dict(plan.environment).get("PATH", "").split(":") if "/" not in name else [""]
    argv = calls.pointers([os.fsencode(word) for word in plan.argv])
    environment = calls.pointers([os.fsencode(f"{key}={value}") for key, value in plan.environment])
    for folder in folders:
        path = f"{folder}/{name}" if folder else name
        calls.try_one("execve", encoded(path), argv, environment, expected=_MISSING)

"""How a box's program starts, in a new box or in one that runs: its streams or its terminal, user, folder, file.

Child side, like enter.py and under the same rules: nothing is imported, and no path is trusted to be what it is called.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from typing import NoReturn

from runtimes.container import syscalls as sys_
from runtimes.container.plan import Plan

_MULTIPLEXER = "/dev/pts/ptmx"
_MULTIPLEXER_DEVICE = (5, 2)
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_MISSING = (errno.ENOENT, errno.ENOTDIR)


def take_streams(plan: Plan, streams: tuple[int, int, int]) -> None:
    """A session of its own, standard streams, no other descriptor, no signal ignored.

    With a terminal, the first stream is a socket over which its other end goes to whoever asked for the box.
    """
    os.setsid()
    if plan.terminal:
        terminal = _open_terminal(streams[0])
        fcntl.ioctl(terminal, _TIOCSCTTY, 0)
        streams = (terminal, terminal, terminal)
    for target, source in enumerate(streams):
        os.dup2(source, target)
    sys_.close_range(3, sys_.CLOSE_RANGE_CLOEXEC)
    for signal in (sys_.SIGPIPE, sys_.SIGXFSZ):
        sys_.default_signal(signal)


def _open_terminal(console: int) -> int:
    """From the multiplexer itself, never by a terminal's name: in a box that runs, names are the box's to choose."""
    master = os.open(_MULTIPLEXER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
    facts = os.fstat(master)
    if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != os.makedev(*_MULTIPLEXER_DEVICE):
        raise OSError(errno.ENODEV, f"{_MULTIPLEXER} is not a multiplexer of terminals")
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    sender = socket(AF_UNIX, SOCK_STREAM, 0, console)
    sender.sendmsg([b"t"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", master))])
    sender.detach()
    return slave


def become_user(plan: Plan) -> None:
    """Groups first, since the user may not; the kernel takes all capabilities from anyone but root.

    It also forgets to end the process with its parent: said again, by whoever calls this.
    """
    if plan.user:
        user, group, *others = plan.user
        os.setgroups([group, *others])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    if plan.working_dir:
        os.chdir(plan.working_dir)
        if not os.getcwd().startswith("/"):  # noqa: PTH109 (pathlib is not loaded here)
            raise OSError(errno.ENOENT, f"{plan.working_dir} is not in the box")


def execute(plan: Plan) -> NoReturn:
    """A name without a slash is looked for along PATH, as a shell would."""
    name, environment = plan.argv[0], dict(plan.environment)
    folders = environment.get("PATH", "").split(":") if "/" not in name else [""]
    denied = None
    for folder in folders:
        try:
            os.execve(f"{folder}/{name}" if folder else name, plan.argv, environment)
        except OSError as error:
            if error.errno not in _MISSING:
                denied = error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

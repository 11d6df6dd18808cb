"""QEMU as a host process: becoming the parent of what libvirt daemonises, and ending it at once.

libvirt's own `destroy` sends SIGTERM and looks every 200 ms whether the pid is gone. QEMU is a daemon, so a pid stays
until its new parent has collected it; a container's init may take seconds. With us as that parent it is SIGKILL and
`waitid`, and libvirt finds nothing left to wait for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import TareError

_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_UCRED = struct.Struct("3i")
EXIT_DEADLINE_S = 10.0


@contextmanager
def adoption(wanted: bool) -> Iterator[None]:
    """While the block runs, orphans below this process become its children, or expressly do not.

    Only boxes are adopted. libvirt's short-lived QEMUs, which it asks what they can do, must go to init: nobody here
    would collect them, and libvirt waits 40 s for each to vanish.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.c_int()
    _prctl(libc, _PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
    _prctl(libc, _PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(wanted))
    try:
        yield
    finally:
        _prctl(libc, _PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(before.value))


def _prctl(libc: ctypes.CDLL, option: int, argument: object) -> None:
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def peer_pid(connection: socket.socket) -> int:
    """The process that connected to us: no pid file to find, no name to trust."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[0])


class Handle:
    """A process by pidfd, so that a signal never hits another one that got its number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    @property
    def alive(self) -> bool:
        """False from its exit on, collected or not, and once the handle is closed."""
        return self._fd >= 0 and not select.select([self._fd], [], [], 0)[0]

    def ended_before(self, event: int) -> bool:
        """Waits until the process has ended or the descriptor is readable; true for the former."""
        return self._fd in select.select([self._fd, event], [], [])[0]

    def kill(self) -> None:
        """SIGKILL, and returns when it is gone and, if it was our child, collected."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        self.wait(EXIT_DEADLINE_S)

    def wait(self, timeout_s: float) -> None:
        """Returns when it has ended; TareError when it does not in time."""
        if not self.ends(timeout_s):
            raise TareError(f"QEMU ({self.pid}) does not end", hint="see its state in /proc; it may wait for a disk")

    def ends(self, timeout_s: float) -> bool:
        """Whether it ends in that time. Collects it if it was our child."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._fd, os.WEXITED)
        return True

    @contextmanager
    def collected(self) -> Iterator[None]:
        """While the block runs, somebody else ends it and waits for its pid to vanish, which is ours to collect."""
        over, end = os.pipe2(os.O_CLOEXEC)
        collector = threading.Thread(target=self._collect, args=(over,), name="tare-collect")
        collector.start()
        try:
            yield
        finally:
            os.close(end)
            collector.join()
            os.close(over)

    def _collect(self, over: int) -> None:
        if self.ended_before(over):
            self.wait(0.0)

    def close(self) -> None:
        os.close(self._fd)
        self._fd = -1

"""A person's terminal and the one inside a box, made to look like one: raw here, sized alike, bytes both ways.

The box opens its own terminal and hands us the other end over a socket, so no name of a terminal is ever trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import struct
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_PIECE_BYTES = 1 << 16
_SIZE = struct.Struct("4H")


class Console:
    """Our end of the socket a box's terminal comes over, and the terminal once it has come."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.master = -1

    def receive(self) -> None:
        """To be called when the program has been started: it has sent it before."""
        self.theirs.close()
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        self.master = descriptors[0]
        os.set_inheritable(self.master, False)
        os.set_blocking(self.master, False)

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def fit(self, like: int) -> None:
        """As many rows and columns as that terminal has; the kernel tells the programs inside."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(like, termios.TIOCGWINSZ, bytes(_SIZE.size))
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the box, Ctrl-C too, if that is a terminal at all; as it was when the block ends."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class Pump:
    """Carries bytes from the box's terminal to `output`, and from `source`, if there is one, to it."""

    def __init__(self, watch: selectors.BaseSelector, master: int, source: int | None, output: int) -> None:
        self._watch = watch
        self._master = master
        self._source = source
        self._output = output
        watch.register(master, selectors.EVENT_READ, self._from_box)
        if source is not None:
            watch.register(source, selectors.EVENT_READ, self._to_box)

    def drain(self) -> None:
        """What the box has printed before it ended."""
        while self._carry(self._master, self._output):
            pass

    def _from_box(self) -> None:
        if not self._carry(self._master, self._output):
            self._watch.unregister(self._master)

    def _to_box(self) -> None:
        assert self._source is not None
        if not self._carry(self._source, self._master):
            self._watch.unregister(self._source)

    @staticmethod
    def _carry(source: int, target: int) -> bool:
        """Whether there may be more. A terminal whose programs are all gone says EIO."""
        try:
            piece = os.read(source, _PIECE_BYTES)
        except OSError:
            return False
        write_all(target, piece)
        return bool(piece)


def write_all(target: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            with selectors.PollSelector() as waiting:
                waiting.register(target, selectors.EVENT_WRITE)
                waiting.select()
        except BrokenPipeError:
            return

"""The owner of a box made by hand: the process that has its zygote, waits for its end, and serves those who ask.

In the foreground it is the command itself, else a process the command leaves behind. The box cannot outlive it: the
zygote and all in it are killed with it. Who wants something of a running box asks here, over a socket
in the box's folder: to send a signal, to run another program in it, or just to be told, by the end of the
connection, that it is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.boxes import EXIT_CANNOT_RUN, EXIT_NOT_FOUND, EXIT_OURS, EXIT_SIGNAL
from harness.errors import TareError
from runtimes.container.box import Box
from runtimes.container.launcher import Process
from runtimes.container.planning import Command

MESSAGE_BYTES = 60 << 10
_STREAMS = 3
_BACKLOG = 32


class Request(msgspec.Struct, kw_only=True):
    """`signal` alone is for the box, or for the program this connection has started; a `command` comes with streams."""

    signal: int = 0
    argv: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: tuple[int, ...] = ()
    terminal: bool = False

    @property
    def command(self) -> Command:
        return Command(
            self.argv, self.environment, working_dir=self.working_dir, user=self.user, terminal=self.terminal
        )


class Reply(msgspec.Struct, kw_only=True):
    """First that it was started or why not; then the code it ended with."""

    code: int | None = None
    error: str = ""
    hint: str = ""
    step: str = ""
    errno: int = 0

    @classmethod
    def of(cls, error: TareError) -> Reply:
        failure = getattr(error, "failure", None)
        step, number = (failure.step, failure.errno) if failure else ("", 0)
        return cls(error=error.message, hint=error.hint, step=step, errno=number)

    @property
    def exit_code(self) -> int:
        """As docker's: what it ended with, or whose fault it is that it never began."""
        if self.code is not None:
            return self.code
        if not self.step.startswith("execute"):
            return EXIT_OURS
        return EXIT_NOT_FOUND if self.errno in (errno.ENOENT, errno.ENOTDIR) else EXIT_CANNOT_RUN


Join = Callable[[Command, tuple[int, int, int]], Process]


class Owner:
    """Listens at once, and serves until the box has ended. To be closed when nothing of the box is left."""

    def __init__(self, control: Path, watch: selectors.BaseSelector) -> None:
        self._watch = watch
        self._guests: dict[socket.socket, Process | None] = {}
        self._running = True
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(control))
        self._listener.listen(_BACKLOG)

    def serve(self, box: Box, join: Join) -> None:
        """Returns when the box has ended; whoever is still connected learns it from `close`."""
        self._box = box
        self._join = join
        self._watch.register(self._listener, selectors.EVENT_READ, self._welcome)
        self._watch.register(box.process, selectors.EVENT_READ, self._ended)
        while self._running:
            for key, _ in self._watch.select():
                key.data()

    def close(self) -> None:
        for guest, process in self._guests.items():
            if process is not None:
                process.close()
            guest.close()
        self._listener.close()

    def _ended(self) -> None:
        self._watch.unregister(self._box.process)
        self._box.process.ended(0)
        self._running = False

    def _welcome(self) -> None:
        guest, _ = self._listener.accept()
        self._guests[guest] = None
        self._watch.register(guest, selectors.EVENT_READ, lambda: self._hear(guest))

    def _hear(self, guest: socket.socket) -> None:
        data, descriptors, _, _ = socket.recv_fds(guest, MESSAGE_BYTES, _STREAMS)
        try:
            request = _understood(data)
            if request is None:
                self._dismiss(guest)
            elif request.signal:
                (self._guests[guest] or self._box.process).kill(request.signal)
            elif len(descriptors) == _STREAMS:
                self._start(guest, request.command, (descriptors[0], descriptors[1], descriptors[2]))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, guest: socket.socket, command: Command, streams: tuple[int, int, int]) -> None:
        try:
            process = self._join(command, streams)
        except TareError as error:
            _tell(guest, Reply.of(error))
            return
        self._guests[guest] = process
        _tell(guest, Reply())
        self._watch.register(process, selectors.EVENT_READ, lambda: self._finish(guest, process))

    def _finish(self, guest: socket.socket, process: Process) -> None:
        self._watch.unregister(process)
        process.ended(0)
        if guest in self._guests:
            _tell(guest, Reply(code=shell_code(process.exit_code)))
            self._guests[guest] = None
        process.close()

    def _dismiss(self, guest: socket.socket) -> None:
        """A program it started goes on without it."""
        self._watch.unregister(guest)
        del self._guests[guest]
        guest.close()


def _understood(data: bytes) -> Request | None:
    """None for the end of a connection, and for what must not end the owner and its box."""
    try:
        return msgspec.json.decode(data, type=Request) if data else None
    except msgspec.DecodeError:
        return None


def shell_code(code: int | None) -> int:
    """As a shell has it: 128 and the signal."""
    if code is None:
        return EXIT_SIGNAL + 9
    return EXIT_SIGNAL - code if code < 0 else code


def _tell(guest: socket.socket, reply: Reply) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        guest.send(msgspec.json.encode(reply))

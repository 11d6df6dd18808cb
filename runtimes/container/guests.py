"""The other end of an owner's socket: commands that want something of a box that runs."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from harness import log
from harness.boxes import EXIT_SIGNAL, Attached
from harness.errors import TareError
from runtimes.container import attaching, boxstate
from runtimes.container.boxstate import Record
from runtimes.container.owner import MESSAGE_BYTES, Reply, Request
from runtimes.container.planning import Command


class JustEnded(TareError):
    """The record still says that it runs, and nobody is there any more."""


@contextmanager
def visiting(record: Record) -> Iterator[socket.socket]:
    """A connection to the owner of that box; its end is the end of the box."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as owner:
        try:
            owner.connect(str(boxstate.place(record.name) / "control"))
        except (FileNotFoundError, ConnectionRefusedError):
            raise JustEnded(f"box {record.name} has just ended", hint="tare box ps -a") from None
        yield owner


def send_signal(owner: socket.socket, number: int) -> None:
    owner.send(msgspec.json.encode(Request(signal=number)))


def outlasts(owner: socket.socket, limit_s: float) -> bool:
    """Whether the box is still there after that time."""
    owner.settimeout(limit_s)
    try:
        owner.recv(MESSAGE_BYTES)
    except (TimeoutError, BlockingIOError):  # the latter for no time at all
        return True
    except ConnectionResetError:
        return False
    return False


def run(record: Record, command: Command, how: Attached, *, wait: bool) -> int:
    """Another program in the box; returns its code, or 0 once it was started."""
    with (
        visiting(record) as owner,
        attaching.attached(how) as attachment,
        selectors.DefaultSelector() as watch,
        attaching.held(),
    ):
        socket.send_fds(owner, [msgspec.json.encode(_request(command))], attachment.streams)
        reply = _receive(owner)
        if reply.error:
            log.say(f"tare: {reply.error}" + (f"\n      {reply.hint}" if reply.hint else ""))
            return reply.exit_code
        if not wait:
            return 0
        attachment.started(watch)
        watch.register(owner, selectors.EVENT_READ, None)
        with attaching.forwarding(lambda number: send_signal(owner, number), attachment.resize):
            _serve(watch)
        attachment.finish()
        return _receive(owner).exit_code


def _serve(watch: selectors.BaseSelector) -> None:
    """Pumps until the owner has something to say."""
    while True:
        for key, _ in watch.select():
            if key.data is None:
                return
            key.data()


def _receive(owner: socket.socket) -> Reply:
    """An owner that goes without a word took the program with it."""
    try:
        data = owner.recv(MESSAGE_BYTES)
    except ConnectionResetError:
        data = b""
    return msgspec.json.decode(data, type=Reply) if data else Reply(code=EXIT_SIGNAL + 9)


def _request(command: Command) -> Request:
    return Request(
        argv=command.argv,
        environment=command.environment,
        working_dir=command.working_dir,
        user=command.user,
        terminal=command.terminal,
    )

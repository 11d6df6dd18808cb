"""Ports of the host that lead into a box: a small process that listens here and speaks there.

It changes nothing of the host: no packet filter, no forwarding, no switch. The listening sockets are made in the host's
network; then the process enters the box's, so what it opens is as if the box had. It tries the box's loopback first, so
a box needs no link to publish a port, and programs that listen there alone can be reached. The price: the box
sees every client under one address, and bytes pass through a process instead of through the kernel alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.errors import UsageError
from runtimes.container import syscalls as sys_
from runtimes.container.wishes import Port

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.extend(sys.argv[1].split(':')); from runtimes.container.publishing import serve; "
    "serve(*sys.argv[2:])"
)
_PIECE_BYTES = 1 << 16
_LOOPBACK = "127.0.0.1"

Visit = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What asyncio calls for each connection."""


@contextmanager
def listening(ports: Sequence[Port]) -> Iterator[list[socket.socket]]:
    """UsageError for a port that is not to be had."""
    with ExitStack() as stack:
        listeners = []
        for port in ports:
            family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
            try:
                listener = socket.create_server((port.address, port.host), family=family, backlog=128)
            except OSError as error:
                raise UsageError(
                    f"cannot publish port {port.host} at {port.address}: {os.strerror(error.errno or 0)}",
                    hint="choose another port, or end who has it: ss -ltnp",
                ) from None
            listeners.append(stack.enter_context(listener))
        yield listeners


@contextmanager
def forwarding(ports: Sequence[Port], listeners: Sequence[socket.socket], pid: int, address: str) -> Iterator[None]:
    """Whoever connects there reaches the box of that process, for as long as the block runs."""
    if not ports:
        yield
        return
    pairs = [f"{listener.fileno()}:{port.box}" for listener, port in zip(listeners, ports, strict=True)]
    argv = [sys.executable, "-I", "-c", _PROGRAM, str(_ROOT), str(pid), address, *pairs]
    fds = [listener.fileno() for listener in listeners]
    process = subprocess.Popen(
        argv, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        process.stdout.read(1)  # it is in the box's network, which must not end before
        for listener in listeners:
            listener.close()
        yield
    finally:
        process.kill()
        process.communicate()


def serve(pid: str, address: str, *pairs: str) -> None:
    """The process: ends with its parent."""
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    sys_.setns(network, sys_.CLONE_NEWNET)
    asyncio.run(_serve([_LOOPBACK, *([address] if address else [])], pairs))


async def _serve(addresses: Sequence[str], pairs: Sequence[str]) -> None:
    servers = []
    for pair in pairs:
        listener, _, port = pair.partition(":")
        visit = _visitor(addresses, int(port))
        servers.append(await asyncio.start_server(visit, sock=socket.socket(fileno=int(listener))))
    os.write(1, b"1")
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _visitor(addresses: Sequence[str], port: int) -> Visit:
    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for address in addresses:
            with suppress(OSError):
                inner_reader, inner_writer = await asyncio.open_connection(address, port)
                await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
                inner_writer.close()
                break
        writer.close()

    return visit


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, to its end, which is passed on as well."""
    with suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

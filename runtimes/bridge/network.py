"""The five networks a box can have, and the harness's end of the ones that need a bridge.

none      a network namespace as the kernel makes it: its loopback is down, not even itself can be spoken to
loopback  its loopback is up, and nothing else is there
bridge    and a link to a bridge of the run's own: the host and the run's other boxes, and nobody beyond
nat       and the world beyond, under the host's address: the one network that changes a switch of the host's, and the
          packet filter, in a table of our own; both go back when the run ends
host      no namespace: the host's links as they are

The bridge is made when the first box needs it, by a worker (worker.py says why), and goes with the run.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.errors import TrialFailed, Unsupported
from runtimes.bridge import bridges
from runtimes.bridge.netlink import Link

NONE, LOOPBACK, BRIDGE, NAT, HOST = KINDS = ("none", "loopback", "bridge", "nat", "host")

_DEADLINE_S = 30.0
_MESSAGE_BYTES = 4096
_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from runtimes.bridge.worker import serve; serve(int(sys.argv[2]), sys.argv[3])"
)


def address_of(kind: str, link: Link | None) -> str | None:
    """Where the host reaches a box of that network."""
    if kind == HOST:
        return "127.0.0.1"
    return link.address if link else None


class Answer(msgspec.Struct):
    """What the worker says."""

    index: int = 0
    gateway: str = ""
    prefix: int = 0
    error: str = ""
    hint: str = ""


class Network:
    """The bridge of one mark, as far as it is needed."""

    def __init__(self, mark: str, log: Path) -> None:
        self._mark = mark
        self._log = log
        self._worker: Worker | None = None
        self._masquerades = False
        self._turn = int.from_bytes(os.urandom(2), "big")
        self._bridge = Answer()

    @contextmanager
    def linked(self, box: str, kind: str) -> Iterator[Link | None]:
        """What the box's plan needs to have that network; its address is its own while the block runs."""
        if kind not in (BRIDGE, NAT):
            yield None
            return
        worker = self._opened()
        if kind == NAT and not self._masquerades:
            worker.ask("nat")
            self._masquerades = True
        name = bridges.name_of(self._mark)
        with bridges.leased(name, box, self._addresses()) as address:
            yield Link(bridges.port_of(box), self._bridge.index, address, self._bridge.prefix, self._bridge.gateway)

    def close(self) -> None:
        """Takes the bridge away, unless another process uses it. Harmless twice."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
            self._masquerades = False

    def _opened(self) -> Worker:
        if self._worker is None:
            worker = Worker(self._mark, self._log)
            try:
                self._bridge = worker.answer()
            except BaseException:
                worker.close()
                raise
            self._worker = worker
        return self._worker

    def _addresses(self) -> Iterator[int]:
        """All of the subnet but its first, the gateway's and its last, each time beginning with the next one."""
        (gateway,) = struct.unpack("!I", socket.inet_aton(self._bridge.gateway))
        count = (1 << 32 - self._bridge.prefix) - 3
        self._turn += 1
        return (gateway + 1 + number % count for number in itertools.islice(itertools.count(self._turn), count))


class Worker:
    """The process that keeps the bridge."""

    def __init__(self, mark: str, log: Path) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_DEADLINE_S)
        self._log = log
        argv = [sys.executable, "-I", "-c", _PROGRAM, str(_ROOT), str(theirs.fileno()), mark]
        with theirs, log.open("ab") as said:
            self._process = subprocess.Popen(
                argv,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def ask(self, what: str) -> Answer:
        self._control.send(what.encode())
        return self.answer()

    def answer(self) -> Answer:
        """Unsupported with the worker's own words."""
        try:
            words = self._control.recv(_MESSAGE_BYTES)
        except TimeoutError:
            words = b""
        if not words:
            raise TrialFailed("the network worker did not answer", log=self._log.read_text(errors="replace"))
        answer = msgspec.json.decode(words, type=Answer)
        if answer.error:
            raise Unsupported(answer.error, hint=answer.hint)
        return answer

    def close(self) -> None:
        """Returns when the bridge is gone."""
        self._control.close()
        try:
            self._process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

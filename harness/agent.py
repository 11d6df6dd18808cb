"""The host's end of the agent's line protocol (agent.sh has the words), over any pair of file descriptors."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from importlib import resources

from harness.contract import Completed
from harness.errors import TrialFailed, TrialTimeout

BUSYBOX = "/.tare/busybox"
AGENT = "/.tare/agent"
MANIFEST = "/.tare/manifest"
ARGV = (BUSYBOX, "sh", AGENT)
"""What every runtime starts, with the image's root as `/` (a plain process: below the unpacked tree)."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/.tare"
OUTPUT_LIMIT_BYTES = 64 << 20
_READ_BYTES = 1 << 16


def environment(root: str = "", tmp: str = "/tmp", port: str = "") -> dict[str, str]:
    """The agent's whole environment, equal for all runtimes but for where the image's tree lies."""
    path = ":".join(root + folder for folder in PATH.split(":"))
    env = {"PATH": path, "HOME": "/", "TARE_ROOT": root, "TARE_TMP": tmp}
    return env | ({"TARE_PORT": port} if port else {})


def script() -> str:
    """The agent's own text, as it is put into images."""
    return (resources.files("harness") / "agent.sh").read_text()


def quote(argument: str) -> str:
    """One argument in the shell's $'…' form: any byte but NUL survives, line ends included."""
    safe = "".join(chr(b) if 32 <= b < 127 and chr(b) not in "'\\" else f"\\x{b:02x}" for b in os.fsencode(argument))
    return f"$'{safe}'"


class Channel:
    """A conversation with one agent. `log_tail` says what the box printed elsewhere, for error messages.

    `ready_at_s` is the host's monotonic clock when the first byte had arrived, 0.0 before.
    Does not own the descriptors.
    """

    def __init__(self, read_fd: int, write_fd: int, *, name: str, log_tail: Callable[[], str] = lambda: "") -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._name = name
        self._log_tail = log_tail
        self._buffer = bytearray()
        self._commands = 0
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)
        self.ready_at_s = 0.0

    def wait_ready(self, timeout_s: float) -> None:
        """Returns when the first byte has arrived; TrialFailed when the box ends or says something else first."""
        if self.ready_at_s:
            return
        self._receive(time.monotonic() + timeout_s, doing=f"become ready within {timeout_s:g} s")
        self.ready_at_s = time.monotonic()
        greeting = self._line(time.monotonic() + timeout_s, doing="finish its first line")
        if greeting != b"R":
            raise self._failed(f"said {greeting[:80]!r} instead of being ready")

    def hail(self, timeout_s: float) -> None:
        """Has a box that was brought back say its first line again; `wait_ready` then waits for that."""
        self._send(b"hello\n", time.monotonic() + timeout_s)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Runs a command inside, one at a time. A box that overruns is not usable afterwards."""
        self._commands += 1
        deadline_s = time.monotonic() + timeout_s
        words = " ".join(["run", str(self._commands), *map(quote, argv)])
        self._send(words.encode() + b"\n", deadline_s)
        doing = f"finish {argv[0]} within {timeout_s:g} s"
        answer = self._line(deadline_s, doing)
        code, out_bytes, err_bytes = self._parse(answer)
        return Completed(code, self._take(out_bytes, deadline_s, doing), self._take(err_bytes, deadline_s, doing))

    def quit(self) -> None:
        """Asks the agent to end; a box that is already gone is fine."""
        try:
            os.write(self._write_fd, b"quit\n")
        except OSError:
            return

    def _parse(self, answer: bytes) -> tuple[int, int, int]:
        try:
            done, ident, code, out_bytes, err_bytes = answer.decode("ascii").split(" ")
            numbers = int(code), int(out_bytes), int(err_bytes)
        except ValueError:
            raise self._failed(f"answered {answer[:80]!r}, which is not the agent's protocol") from None
        if done != "done" or ident != str(self._commands) or max(numbers[1:]) > OUTPUT_LIMIT_BYTES:
            raise self._failed(f"answered {answer[:80]!r} to command {self._commands}")
        return numbers

    def _send(self, data: bytes, deadline_s: float) -> None:
        writable = select.poll()
        writable.register(self._write_fd, select.POLLOUT)
        while data:
            if not writable.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
                raise self._timeout("take a command")
            try:
                data = data[os.write(self._write_fd, data) :]
            except (BrokenPipeError, ConnectionResetError):
                raise self._failed("ended unexpectedly") from None

    def _receive(self, deadline_s: float, doing: str) -> None:
        if not self._poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise self._timeout(doing)
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._failed("ended unexpectedly")
        self._buffer += data

    def _line(self, deadline_s: float, doing: str) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _READ_BYTES:
                raise self._failed(f"said {bytes(self._buffer[:80])!r}… without a line end")
            self._receive(deadline_s, doing)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _take(self, size: int, deadline_s: float, doing: str) -> bytes:
        while len(self._buffer) < size:
            self._receive(deadline_s, doing)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _failed(self, what: str) -> TrialFailed:
        return TrialFailed(f"{self._name} {what}", log=self._log_tail())

    def _timeout(self, doing: str) -> TrialTimeout:
        return TrialTimeout(f"{self._name} did not {doing}", log=self._log_tail())

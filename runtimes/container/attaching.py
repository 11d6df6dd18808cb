"""How a program meets whoever started it: their own standard streams, a terminal of its own, or a log and nothing."""

from __future__ import annotations

import os
import selectors
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from harness.boxes import Attached
from harness.errors import UsageError
from runtimes.container import terminal

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Attachment:
    """`streams` are what the program gets; `started` is to be called once it has them."""

    def __init__(self, attached: Attached, log: Path | None, undo: ExitStack) -> None:
        self._attached = attached
        self._log = log
        self._undo = undo
        self.console = terminal.Console() if attached.tty else None
        self._pump: terminal.Pump | None = None
        self._output = _STDOUT if log is None else self._opened(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.streams = self._streams()

    def started(self, watch: selectors.BaseSelector) -> None:
        """A terminal is pumped from now on, by whoever serves that selector."""
        if self.console is None:
            return
        self.console.receive()
        self._undo.callback(self.console.close)
        source = _STDIN if self._from_us else None
        if self._log is None:
            self.resize()
        if source is not None:
            self._undo.enter_context(terminal.raw(source))
        self._pump = terminal.Pump(watch, self.console.master, source, self._output)

    def resize(self) -> None:
        if self.console is not None:
            self.console.fit(_STDOUT if os.isatty(_STDOUT) else _STDIN)

    def finish(self) -> None:
        """The program has ended: what it printed last has still to come through."""
        if self._pump is not None:
            self._pump.drain()

    @property
    def _from_us(self) -> bool:
        return self._log is None and self._attached.interactive

    def _streams(self) -> tuple[int, int, int]:
        if self.console is not None:
            if self._from_us and not os.isatty(_STDIN):
                raise UsageError("standard input is not a terminal", hint="leave out -t, or -i")
            nothing = self._opened(Path(os.devnull), os.O_RDWR)
            return self.console.theirs.fileno(), nothing, nothing
        from_us = self._from_us
        source = _STDIN if from_us else self._opened(Path(os.devnull), os.O_RDONLY)
        errors = _STDERR if self._log is None else self._output
        for descriptor in (source, self._output, errors):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise UsageError("a folder of the host would be open in the box", hint="give it a file, or nothing")
        return source, self._output, errors

    def _opened(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self._undo.callback(os.close, descriptor)
        return descriptor


@contextmanager
def attached(how: Attached, log: Path | None = None) -> Iterator[Attachment]:
    """To our own streams, or with a log to that."""
    with ExitStack() as undo:
        yield Attachment(how, log, undo)


@contextmanager
def held() -> Iterator[None]:
    """Signals that are to be the program's wait while there is none yet, and while what it had is taken away."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)


@contextmanager
def forwarding(pass_on: Callable[[int], None], resized: Callable[[], None]) -> Iterator[None]:
    """Signals sent to us, also those that were held, are the program's while the block runs; then they are held."""

    def forward(number: int, _frame: FrameType | None) -> None:
        pass_on(number)

    def resize(_number: int, _frame: FrameType | None) -> None:
        resized()

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, resize)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        for number, handler in before.items():
            signal.signal(number, handler)

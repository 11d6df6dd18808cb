"""A container that was started: the handle a scenario gets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from harness.agent import Channel
from harness.contract import Completed
from harness.model import Phase
from runtimes.container import freezer
from runtimes.container.box import Box

_LOG_BYTES = 64 << 10
_DEATH_S = 1.0
"""How long an error message waits for the cause of death, which follows the end of the output at once."""


class Streams:
    """The pipes to a box's standard input, output and error: our ends, and until it has them the box's."""

    def __init__(self) -> None:
        self._open: list[int] = []
        try:
            self._stdin, self.stdin = self._pipe()
            self.stdout, self._stdout = self._pipe()
            self.stderr, self._stderr = self._pipe()
        except OSError:
            self._close(tuple(self._open))
            raise
        os.set_blocking(self.stderr, False)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        self._open += ends
        return ends

    @property
    def theirs(self) -> tuple[int, int, int]:
        return self._stdin, self._stdout, self._stderr

    def hand_over(self) -> None:
        """Closes the box's ends here: only then does its end show as the end of its output."""
        self._close(self.theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self._close(tuple(self._open))

    def _close(self, descriptors: tuple[int, ...]) -> None:
        for descriptor in descriptors:
            self._open.remove(descriptor)
            os.close(descriptor)


class ContainerInstance:
    """See harness.contract.Pausable: a box whose first program is the agent."""

    def __init__(self, box: Box, streams: Streams, requested_s: float) -> None:
        self.name = box.name
        self.cgroup = box.cgroup
        self.address = box.address
        self.disk_paths = (box.folder / "upper",)
        self.stop = box.stop
        self._process = box.process
        self._streams = streams
        self._requested_s = requested_s
        self._channel = Channel(streams.stdout, streams.stdin, name=self.name, log_tail=self._log_tail)

    def wait_ready(self, timeout_s: float) -> None:
        self._channel.wait_ready(timeout_s)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return self._channel.run(argv, timeout_s)

    def pids(self) -> frozenset[int]:
        """The members of its cgroup. The zygote, one for all boxes, is not among them: it costs the same for none."""
        return self.cgroup.pids()

    def phases(self) -> Sequence[Phase]:
        """create: request → its first process exists; spawn: → its program was executed; userspace: → first byte."""
        born_s, executed_s = self._process.born_s, self._process.executed_s
        phases = [Phase("create", self._requested_s, born_s), Phase("spawn", born_s, executed_s)]
        if self._channel.ready_at_s:
            phases.append(Phase("userspace", executed_s, self._channel.ready_at_s))
        return phases

    def documents(self) -> Mapping[str, str]:
        """Where it is charged, which namespaces it is in, what it sees mounted. While it lives."""
        proc = Path(f"/proc/{self._process.pid}")
        names = sorted(path.name for path in (proc / "ns").iterdir())
        return {
            "cgroups": "".join(f"{key} {path}\n" for key, path in sorted(self.cgroup.paths.items())),
            "namespaces": "".join(f"{name} {(proc / 'ns' / name).readlink()}\n" for name in names),
            "mounts": (proc / "mountinfo").read_text(),
        }

    def pause(self) -> None:
        freezer.freeze(self.cgroup)

    def resume(self) -> None:
        freezer.thaw(self.cgroup)

    def _log_tail(self) -> str:
        """What the box printed on its standard error, and how it ended if it has."""
        try:
            said = os.read(self._streams.stderr, _LOG_BYTES).decode(errors="replace")
        except BlockingIOError:
            said = ""
        return said + self._end()

    def _end(self) -> str:
        if not self._process.ended(_DEATH_S):
            return ""
        code, oom_kills = self._process.exit_code, 0
        with contextlib.suppress(FileNotFoundError):  # stopped by us: the cgroup has gone first
            oom_kills = self.cgroup.oom_kills()
        if code is None:
            how = "its zygote is gone"
        else:
            how = f"it was killed by signal {-code}" if code < 0 else f"it exited with {code}"
        return how + (f"; out of memory {oom_kills} times" if oom_kills else "")

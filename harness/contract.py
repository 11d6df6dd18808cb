"""What a plug-in offers: Runtime, Instance, Scenario, Report. Nothing here does anything.

A runtime hands over a handle; a scenario holds the clock; a report reads a file. Members are read-only so that
frozen dataclasses satisfy the protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.cgroups import Cgroup
from harness.model import Feature, Image, Metric, Params, Phase, Prepared, Results, Sample, Spec, Support


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where a runtime may put things, and the mark everything it makes must bear.

    `store` survives runs (cache by digest); `scratch` is this run's own and goes with it; `mark` is `tare-<run>`.
    """

    store: Path
    scratch: Path
    mark: str
    options: Mapping[str, str] = field(default_factory=dict)

    def name(self, number: int) -> str:
        """The name of the n-th box: what cgroups, domains, links and folders are called."""
        return f"{self.mark}-{number}"


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran inside a box."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Instance(Protocol):
    """A box that was started. Valid inside the `with` block of `Runtime.start`."""

    @property
    def name(self) -> str: ...

    @property
    def cgroup(self) -> Cgroup | None:
        """The cgroup all of the box is charged to; its controllers say for what it speaks."""

    @property
    def address(self) -> str | None:
        """Where the host reaches what listens inside; None for a box without a network."""

    @property
    def disk_paths(self) -> Sequence[Path]:
        """Files and folders that exist on the host because of this instance alone."""

    def wait_ready(self, timeout_s: float) -> None:
        """Returns when the agent's first byte has reached the host. TrialTimeout or TrialFailed with the log's tail."""

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Runs a command inside; argv[0] is looked up in the image's PATH. TrialFailed when the box is gone."""

    def pids(self) -> frozenset[int]:
        """Every host process that exists because of this instance, helpers included."""

    def phases(self) -> Sequence[Phase]:
        """The stages of the start so far, in order; the last one ends when the agent's first byte arrived."""

    def documents(self) -> Mapping[str, str]:
        """Texts that say how it was started: domain XML, kernel command line, cgroup paths."""

    def stop(self) -> None:
        """Ends the box now and waits until it is gone. Harmless when it already is."""


class Pausable(Instance, Protocol):
    """An instance of a runtime with `Feature.PAUSE`."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Checkpointable(Instance, Protocol):
    """An instance of a runtime with `Feature.CHECKPOINT`, which is a `Restorer`."""

    def checkpoint(self, folder: Path) -> None:
        """Ends the box and leaves all it was, memory and writes, in an empty folder."""


class Haltable(Instance, Protocol):
    """An instance of a runtime with `Feature.SHUTDOWN`."""

    def shut_down(self, timeout_s: float) -> None:
        """Presses the power button and returns when the box has ended by itself; TrialTimeout when it does not."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the host has counted of a box's virtual CPUs since it began; None for what it does not count."""

    steal_s: float | None
    exits: int | None


@runtime_checkable
class Counted(Protocol):
    """An instance whose virtual CPUs are threads of the host's."""

    def counts(self) -> Counts:
        """Asks now, which costs milliseconds: not while something is timed."""


class Runtime(Protocol):
    """One way to box an image. Made by its entry point from a `Workspace`; making one starts nothing."""

    @property
    def name(self) -> str: ...

    def probe(self) -> Support:
        """The truth about this host: never repairs, never falls back, starts at most a bounded canary."""

    def prepare(self, image: Image) -> Prepared:
        """Turns the image into what `start` needs: untimed, cached by digest, written atomically.

        Also opens what is shared by all instances (a zygote, a connection)."""

    def start(self, spec: Spec) -> AbstractContextManager[Instance]:
        """Requests a box; entering returns as soon as the box can be waited for. Leaving removes every trace."""

    def close(self) -> None:
        """Ends what `prepare` opened. Harmless twice."""

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        """Removes what dead runs left and says what. `live(name)` is true for marks that are still in use."""


class Restorer(Runtime, Protocol):
    """A runtime with `Feature.CHECKPOINT`."""

    def restore(self, spec: Spec, folder: Path) -> AbstractContextManager[Instance]:
        """As `start`, but the box goes on where the checkpointed one ended. It is ready when its agent answers.

        The folder can be used again, for any number of boxes."""


@runtime_checkable
class Optioned(Protocol):
    """A runtime with options of its own: `--option NAME.OPTION=VALUE`."""

    @property
    def options(self) -> Mapping[str, str]:
        """Option → what it says. Others are refused before anything is measured."""


RuntimeFactory = Callable[[Workspace], Runtime]


@dataclass(frozen=True, slots=True)
class Bench:
    """All that a scenario may touch. `features` is what boxes of this kind can do.

    `start()` requests a fresh box of the cell under measurement; `spec` says what it is given (its
    name is each box's own); `clock` is the host's monotonic clock.
    """

    start: Callable[[], AbstractContextManager[Instance]]
    spec: Spec
    params: Params
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    features: frozenset[Feature] = frozenset()
    ready_timeout_s: float = 60.0
    run_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Absent:
    """Yielded instead of a `Sample`: the metric has no value for this box, and why."""

    metric: str
    reason: str


Finding = Sample | Absent
Measure = Callable[[Bench], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question, asked of every runtime alike."""

    name: str
    asks: str
    metrics: tuple[Metric, ...]
    measure: Measure
    needs: frozenset[Feature] = frozenset()
    grid: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Report(Protocol):
    """Renders results as one document: text, or bytes where the form is not text."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def render(self, results: Sequence[Results]) -> str | bytes: ...

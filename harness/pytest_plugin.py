"""Tare inside pytest: other people's tests in boxes, and our runs as pytest-benchmark sees them.

`tare_runtime` and `tare_instance` give a test a box of each runtime that `--tare-runtime` names, to be measured with
the `benchmark` fixture. `tare_replay` turns every time of the run that `--tare-replay` names into a benchmark, the
values equal bit for bit: a clock that shows what was measured takes the place of the real one.

pytest loads this module in every session of whoever has Tare installed, so nothing else is imported before a test asks
for it. pytest-benchmark runs all rounds of one test before the next: it cannot take turns between boxes as `tare run`
does, so drift may favour one of them. Measure with `tare run` and replay where that matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.contract import Instance
    from harness.model import Results, Support
    from harness.session import Session

READY_TIMEOUT_S = 120.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tare", "boxes to measure in")
    group.addoption(
        "--tare-runtime",
        default="native",
        metavar="A,B",
        help="the runtimes whose boxes tare_runtime and tare_instance give (default: native)",
    )
    group.addoption("--tare-image", default="tiny", metavar="IMAGE", help="what the boxes run (default: tiny)")
    group.addoption(
        "--tare-option", action="append", default=[], metavar="RUNTIME.NAME=VALUE", help="a runtime's own option"
    )
    group.addoption(
        "--tare-replay", default="", metavar="RUN", help="the run whose times tare_replay turns into benchmarks"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tare_runtime" in metafunc.fixturenames:
        names = _known(str(metafunc.config.getoption("--tare-runtime")).split(","))
        _check_options(metafunc.config.getoption("--tare-option"), names)
        metafunc.parametrize("tare_runtime", names, indirect=True, scope="session")
    if "tare_replay" in metafunc.fixturenames:
        metafunc.parametrize("tare_replay", list(_replayed(metafunc.config)), indirect=True)


def _known(names: list[str]) -> list[str]:
    from harness import registry

    known = registry.names(registry.RUNTIMES)
    for name in names:
        if name not in known:
            error = registry.unknown("runtime", name, known)
            raise pytest.UsageError(f"{error.message} ({error.hint})")
    return names


def _check_options(words: list[str], names: list[str]) -> None:
    """One that nobody would read is a slip, and else would be measured without a word."""
    from harness import request
    from harness.errors import UsageError

    try:
        options = request.options_of(words)
    except UsageError as error:
        raise pytest.UsageError(f"{error.message} ({error.hint})") from None
    for key in options:
        if key.partition(".")[0] not in names:
            raise pytest.UsageError(f"option {key} is for none of the runtimes asked for: {', '.join(names)}")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What decides whether two benchmarks may be compared, beside what pytest-benchmark knows of the host."""
    from harness import host

    machine_info["tare"] = host.describe()


@dataclass(frozen=True, slots=True)
class Boxes:
    """One runtime, opened: what a test asks for boxes."""

    name: str
    session: Session = field(repr=False)

    @property
    def support(self) -> Support:
        return self.session.supports[self.name]

    @contextmanager
    def start(self) -> Iterator[Instance]:
        """A fresh box that answers; gone when the block ends."""
        with self.session.start(self.name) as instance:
            instance.wait_ready(READY_TIMEOUT_S)
            yield instance


@pytest.fixture(scope="session")
def tare_runtime(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    """Each runtime of --tare-runtime in turn; one that this host cannot run skips its tests, with the reason."""
    with ExitStack() as stack:
        yield _opened(str(request.param), request.config, stack)


@pytest.fixture
def tare_instance(tare_runtime: Boxes, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A fresh box that answers, for this test alone."""
    if "benchmark" in request.fixturenames:
        prepared = tare_runtime.session.prepared[tare_runtime.name]
        request.getfixturevalue("benchmark").extra_info["tare"] = {
            "runtime": tare_runtime.name,
            "emulated": tare_runtime.support.emulated,
            "version": tare_runtime.support.version,
            "image": prepared.image.digest,
        }
    with tare_runtime.start() as instance:
        yield instance


def _opened(name: str, asked: pytest.Config, stack: ExitStack) -> Boxes:
    from harness import campaign, marks, paths, request, rerun, session
    from harness.model import Config

    image_name = str(asked.getoption("--tare-image"))
    config = Config(suite="pytest", scenarios=(), runtimes=(name,), image=image_name, cpuset=(request.boxes_cpu(),))
    mark = stack.enter_context(marks.claimed(marks.new_id()))
    scratch = stack.enter_context(campaign.scratch_folder(paths.home(), mark))
    options = request.options_of(asked.getoption("--tare-option"))
    workspace = session.workspaces(paths.home(), scratch, mark, options)
    image = rerun.image_of(config, paths.home())
    opened = stack.enter_context(session.opened(config, lambda _: image, workspace, mark))
    support = opened.supports[name]
    # Somebody else's test, on a host that cannot make such a box. It has not failed, and it has not run: pytest's word
    # for that is a skip, and the reason and the remedy are printed with it.
    if not support.available:
        pytest.skip(f"{name}: {support.reason}{f' ({support.hint})' if support.hint else ''}")
    return Boxes(name, opened)


@dataclass(slots=True)
class Clock:
    """Shows what it is told to: set to zero before a round and to the measured value within, it yields that value."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, slots=True)
class Replay:
    """One series of a run: a metric in seconds of one box."""

    metric: str
    runtime: str
    where: str
    values: tuple[float, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    @property
    def id(self) -> str:
        return "-".join(part for part in (self.metric, self.runtime, self.where) if part)

    def into(self, benchmark: Any) -> None:
        """Every value as one round, to the last bit."""
        waiting = iter(self.values)

        def begin() -> None:
            self.clock.now_s = 0.0

        def end() -> None:
            self.clock.now_s = next(waiting)

        benchmark.extra_info["tare"] = self.facts
        benchmark.pedantic(end, setup=begin, rounds=len(self.values), iterations=1)


@pytest.fixture
def tare_replay(request: pytest.FixtureRequest, benchmark: Any) -> Replay:
    """Each time of the run of --tare-replay, already handed to `benchmark`."""
    replay: Replay = request.param
    replay.into(benchmark)
    return replay


def _replayed(config: pytest.Config) -> Iterator[Any]:
    """One parameter a series. The mark gives the benchmark its clock: that is the only door to it."""
    from harness import paths, store
    from harness.errors import TareError

    name = str(config.getoption("--tare-replay"))
    # Without a run there is nothing to replay: the test is for whoever names one, and every other session says how.
    if not name:
        reason = "no run was named: --tare-replay RUN (latest is the last one)"
        yield pytest.param(None, id="no-run", marks=pytest.mark.skip(reason=reason))
        return
    try:
        results = store.read(store.locate(paths.home(), name))
    except TareError as error:
        raise pytest.UsageError(f"{error.message} ({error.hint})") from None
    for replay in replays(results):
        group = f"{replay.metric} {replay.where}".rstrip()
        yield pytest.param(replay, id=replay.id, marks=pytest.mark.benchmark(timer=replay.clock, group=group))


def replays(results: Results) -> list[Replay]:
    """Every series in seconds, in the order of measurement; warm-up, twins and failures are no part of it."""
    from harness.model import Outcome, Unit

    seconds = {m.name for scenario in results.run.scenarios for m in scenario.metrics if m.unit is Unit.SECONDS}
    found: dict[tuple[str, str, str], list[float]] = {}
    for trial in results.trials:
        cell = trial.step.cell
        if trial.outcome is not Outcome.OK or trial.step.warmup or cell.twin:
            continue
        for sample in trial.samples:
            if sample.metric in seconds:
                where = _words(itertools.chain(cell.params.items(), sample.labels.items()))
                found.setdefault((sample.metric, cell.runtime, where), []).append(sample.value)
    run = results.run
    return [
        Replay(metric, _shown(results, runtime), where, tuple(values), {"run": run.id, "suite": run.config.suite})
        for (metric, runtime, where), values in found.items()
    ]


def _shown(results: Results, runtime: str) -> str:
    """Emulation is said wherever its numbers go."""
    support = results.run.supports.get(runtime)
    return f"{runtime} (emulation)" if support and support.emulated else runtime


def _words(pairs: Any) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(pairs))

"""A machine whose truth is planted: what a box takes is drawn here, on a clock that only this machine moves.

Trials go through the real plan, runner, tables and verdicts. One run holds many replications of an experiment side by
side, as values of a parameter: each replication has its own reference, twin and boxes, its own step in time and its own
wander, so each is one seeded trial of the whole method.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from harness import plan, runner
from harness.cgroups import Cgroup
from harness.contract import Bench, Completed, Finding, Scenario
from harness.errors import TrialFailed, TrialTimeout
from harness.model import (
    Better,
    Config,
    Image,
    Metric,
    Phase,
    Prepared,
    Results,
    Run,
    Sample,
    ScenarioFacts,
    Spec,
    Support,
    Unit,
)
from harness.session import Session

BOXES: Mapping[str, float] = {"native": 1.0, "same": 1.0, "tenth": 1.1, "fifth": 1.2}
"""Runtime → its true ratio to the reference."""

METRIC = Metric(name="planted.time", unit=Unit.SECONDS, better=Better.LOWER, meaning="planted")
LOST_VALUE_S = 1e9
"""What a lost trial would have taken: one of them in a median would be seen at once."""


class Weather(StrEnum):
    """What disturbs every box alike."""

    CALM = "none"
    DRIFT = "drift 8 %"
    STEP = "+10 % step"
    WANDER = "AR(1)"
    TIES = "ties"


@dataclass(kw_only=True)
class Machine:
    """Time, noise and faults. Every draw moves the clock by what it drew."""

    weather: Weather
    seed: int
    draws: int
    """How many draws the whole run will make: where in its course a draw stands."""
    faults: float = 0.0
    base: float = 1.0
    now_s: float = 0.0
    done: int = 0
    lost: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(Runtime, replication, kind) → how many trials were made to fail, warm-up included."""

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.weather}-{self.seed}")
        self._steps: dict[str, float] = {}
        self._wander: dict[str, float] = {}

    def clock(self) -> float:
        return self.now_s

    def work(self, runtime: str, replication: str, ratio: float) -> None:
        """One box's time passes, or the box fails."""
        self.done += 1
        if self.faults and self._random.random() < self.faults:
            self.now_s += LOST_VALUE_S
            kind = self._random.choice(("failed", "timeout"))
            key = (runtime, replication, kind)
            self.lost[key] = self.lost.get(key, 0) + 1
            raise (TrialFailed if kind == "failed" else TrialTimeout)("planted")
        self.now_s += self._noise() * ratio * self._disturbance(replication) * self.base

    def _noise(self) -> float:
        """Log-normal of 5 %, and a tail: every fourteenth value is inflated by 60 % on average."""
        value = self._random.lognormvariate(0.0, 0.05)
        if self._random.random() < 0.07:
            value *= 1 + self._random.expovariate(1 / 0.6)
        return round(value, 2) if self.weather is Weather.TIES else value

    def _disturbance(self, replication: str) -> float:
        course = self.done / self.draws
        if self.weather is Weather.DRIFT:
            return 1 + 0.08 * course
        if self.weather is Weather.STEP:
            at = self._steps.setdefault(replication, self._random.random())
            return 1.1 if course >= at else 1.0
        if self.weather is Weather.WANDER:
            before = self._wander.get(replication, self._random.gauss(0, 1))
            self._wander[replication] = 0.9 * before + math.sqrt(1 - 0.81) * self._random.gauss(0, 1)
            return math.exp(0.05 * self._wander[replication])
        return 1.0


class PlantedInstance:
    """A box that takes as long as the machine says."""

    cgroup: Cgroup | None = None
    address: str | None = None
    disk_paths: Sequence[Path] = ()

    def __init__(self, name: str, runtime: PlantedRuntime) -> None:
        self.name = name
        self._runtime = runtime

    def wait_ready(self, timeout_s: float) -> None:
        """Ready at once: what takes time is the work."""

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        self._runtime.machine.work(self._runtime.name, argv[0], self._runtime.ratio)
        return Completed(0, b"", b"")

    def pids(self) -> frozenset[int]:
        return frozenset()

    def phases(self) -> Sequence[Phase]:
        return ()

    def documents(self) -> Mapping[str, str]:
        return {}

    def stop(self) -> None:
        """Nothing runs."""


@dataclass(frozen=True)
class PlantedRuntime:
    name: str
    ratio: float
    machine: Machine

    def probe(self) -> Support:
        return Support(available=True)

    def prepare(self, image: Image) -> Prepared:
        return Prepared(image=image, artifacts=())

    @contextmanager
    def start(self, spec: Spec) -> Iterator[PlantedInstance]:
        yield PlantedInstance(spec.name, self)

    def close(self) -> None:
        """Holds nothing."""

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        return ()


class Blind:
    """A witness that sees nothing: no evidence, no taint."""

    def begin(self) -> None:
        """Nothing to remember."""

    def evidence(self) -> dict[str, float]:
        return {}


def measure(bench: Bench) -> Iterator[Finding]:
    began_s = bench.clock()
    with bench.start() as instance:
        instance.run([bench.params["replication"]], 1.0)
        ended_s = bench.clock()
    yield Sample(METRIC.name, ended_s - began_s)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One planted run: how many replications, over how many blocks, of which boxes."""

    weather: Weather
    replications: Sequence[int]
    blocks: int = 20
    boxes: Mapping[str, float] = field(default_factory=lambda: BOXES)
    faults: float = 0.0
    seed: int = 1
    twin: bool = True

    def perform(self) -> tuple[Results, Machine]:
        """Plans and executes it; the machine says afterwards what it did."""
        scenario = Scenario(
            name="planted",
            asks="Is the planted truth found?",
            metrics=(METRIC,),
            measure=measure,
            grid={"replication": [str(number) for number in self.replications]},
        )
        config = Config(
            suite="planted",
            scenarios=("planted",),
            runtimes=tuple(self.boxes),
            blocks=self.blocks,
            warmup_blocks=0,
            settle_s=0.0,
            reference="native" if self.twin else "",
        )
        supports = {name: Support(available=True) for name in self.boxes}
        steps = plan.plan(config, [scenario], supports, self.seed)
        machine = Machine(weather=self.weather, seed=self.seed, draws=len(steps), faults=self.faults)
        session = Session(config, supports, names=(f"tare-planted-{number}" for number in range(len(steps) + 1)))
        prepared = Prepared(
            image=Image(name="", digest="", content_digest="", content_bytes=0, layers=(), root=""), artifacts=()
        )
        for name, ratio in self.boxes.items():
            session.runtimes[name] = PlantedRuntime(name, ratio, machine)
            session.prepared[name] = prepared
        execution = runner.Execution(
            session=session,
            scenarios={"planted": scenario},
            keep_log=lambda _: None,
            senses=runner.Senses(
                clock=machine.clock, canary=lambda: 0.05, settle=lambda _: True, witness=Blind(), sleep=lambda _: None
            ),
        )
        trials = tuple(execution.trials(steps))
        facts = ScenarioFacts(name=scenario.name, asks=scenario.asks, metrics=scenario.metrics)
        return Results(run=_header(config, supports, facts, self.seed), trials=trials), machine


def _header(config: Config, supports: dict[str, Support], facts: ScenarioFacts, seed: int) -> Run:
    if not config.reference:
        config = Config(suite=config.suite, scenarios=config.scenarios, runtimes=config.runtimes, blocks=config.blocks)
    return Run(
        id=f"planted-{seed}", version="0", started_at="", command=(), seed=seed, host={}, config=config,
        supports=supports, images={}, scenarios=(facts,),
    )  # fmt: skip

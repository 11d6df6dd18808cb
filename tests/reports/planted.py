"""Results with planted truth: any number of boxes whose true ratio to the reference is known."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from harness.model import (
    Better,
    Cell,
    Config,
    Metric,
    Outcome,
    Results,
    Run,
    Sample,
    ScenarioFacts,
    Step,
    Support,
    Trial,
    Unit,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planting:
    """Boxes by their true ratio to native, with log-normal noise of `sigma`."""

    ratios: Mapping[str, float]
    blocks: int = 20
    sigma: float = 0.03
    seed: int = 1
    better: Better = Better.LOWER
    floor: float = 0.0
    base: float = 1.0
    emulated: frozenset[str] = frozenset()
    twin_ratio: float = 1.0


def plant(planting: Planting) -> Results:
    """One scenario `made.up` with one metric; the values of block b are drawn in the order of the boxes."""
    rng = random.Random(planting.seed)
    metric = Metric(name="made.up", unit=Unit.SECONDS, better=planting.better, meaning="made up", floor=planting.floor)
    names = ("native", *planting.ratios)
    run = Run(
        id=f"planted-{planting.seed}",
        version="0.1.0",
        started_at=at(0),
        command=("tare", "run"),
        seed=planting.seed,
        host={},
        config=Config(suite="planted", scenarios=("made",), runtimes=names, blocks=planting.blocks),
        supports={name: Support(available=True, emulated=name in planting.emulated) for name in names},
        images={},
        scenarios=(ScenarioFacts(name="made", asks="Is the planted truth found?", metrics=(metric,)),),
    )
    return Results(run=run, trials=tuple(_planted(planting, rng)))


def _planted(planting: Planting, rng: random.Random) -> Iterator[Trial]:
    boxes = [("native", False, 1.0), ("native", True, planting.twin_ratio)]
    boxes += [(name, False, ratio) for name, ratio in planting.ratios.items()]
    for block in range(planting.blocks):
        for position, (runtime, twin, ratio) in enumerate(boxes):
            value = planting.base * ratio * rng.lognormvariate(0, planting.sigma)
            yield trial("made", runtime, block, {"made.up": value}, twin=twin, position=position)


def at(index: int) -> str:
    """A wall-clock time, a second a trial."""
    return f"2026-01-02T03:{index // 60:02d}:{index % 60:02d}Z"


def trial(
    scenario: str, runtime: str, block: int, values: Mapping[str, float], *, twin: bool = False, position: int = 0
) -> Trial:
    """One good trial."""
    step = Step(cell=Cell(scenario=scenario, runtime=runtime, twin=twin), block=block, position=position)
    samples = tuple(Sample(name, value) for name, value in values.items())
    return Trial(step=step, outcome=Outcome.OK, started_at=at(block), elapsed_s=1.0, samples=samples)


def files(results: Results) -> dict[str, bytes]:
    """The folder a run would be, as `harness.store` writes it."""
    return {
        "run.json": msgspec.json.format(msgspec.json.encode(results.run), indent=1),
        "trials.jsonl": b"".join(msgspec.json.encode(trial) + b"\n" for trial in results.trials),
    }

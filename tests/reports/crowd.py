"""A run as large as any: many boxes, many questions, many samples."""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.model import (
    Better,
    Cell,
    Config,
    Kind,
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

BOXES = ("native", "container", "runc", "crun", "docker", "podman", "lxc", "nspawn", "kvm", "tcg")
QUESTIONS = (
    *("boot", "service", "memory", "disk", "cpu", "io", "network", "density", "lifecycle", "deploy"),
    *("isolation", "fork", "compile", "archive", "crypto", "database", "cache", "queue", "stream", "render"),
)
VIEWS = (Unit.SECONDS, Unit.SECONDS, Unit.BYTES, Unit.SECONDS, Unit.BYTES, Unit.SECONDS, Unit.BYTES, Unit.SECONDS)


@dataclass(frozen=True, slots=True)
class Size:
    """How large. A twin of the reference is measured beside, and counts."""

    boxes: int = 10
    questions: int = 20
    metrics: int = 5
    blocks: int = 91

    @property
    def samples(self) -> int:
        return (self.boxes + 1) * self.questions * self.metrics * self.blocks


def crowd(size: Size) -> Results:
    """The last box is emulated; the last metric of each question is exact."""
    rng = random.Random(1)
    boxes, questions = BOXES[: size.boxes - 1] + BOXES[-1:], QUESTIONS[: size.questions]
    run = Run(
        id="crowd",
        version="0.1.0",
        started_at="2026-01-02T03:00:00Z",
        command=("tare", "run", "crowd"),
        seed=1,
        host={"cpu_model": "Planted CPU", "kernel": "6.1"},
        config=Config(suite="crowd", scenarios=tuple(questions), runtimes=boxes, blocks=size.blocks),
        supports={name: Support(available=True, emulated=name == "tcg") for name in boxes},
        images={},
        scenarios=tuple(_facts(name, size.metrics) for name in questions),
    )
    cells = [(name, box, twin) for name in questions for box, twin in ((boxes[0], True), *((b, False) for b in boxes))]
    trials = []
    for block in range(size.blocks):
        for position, (question, box, twin) in enumerate(rng.sample(cells, len(cells))):
            ratio = (1.0 + 0.3 * boxes.index(box)) * rng.lognormvariate(0, 0.03)
            step = Step(
                cell=Cell(scenario=question, runtime=box, twin=twin), block=block, position=position, warmup=False
            )
            trials.append(_trial(step, ratio, size.metrics, rng))
    return Results(run=run, trials=tuple(trials))


def _facts(question: str, metrics: int) -> ScenarioFacts:
    return ScenarioFacts(
        name=question,
        asks=f"What does {question} cost?",
        metrics=tuple(
            Metric(
                name=f"{question}.view{number}",
                unit=VIEWS[number],
                better=Better.LOWER,
                kind=Kind.EXACT if number == metrics - 1 else Kind.SAMPLED,
                meaning=f"the {number}. view of {question}",
            )
            for number in range(metrics)
        ),
    )


def _trial(step: Step, ratio: float, metrics: int, rng: random.Random) -> Trial:
    samples = []
    for number in range(metrics):
        base = 1e7 if VIEWS[number] is Unit.BYTES else 0.01 * (number + 1)
        noise = rng.lognormvariate(0, 0.02)
        value = base * (number + 1.0) if number == metrics - 1 else base * ratio * noise
        samples.append(
            Sample(
                f"{step.cell.scenario}.view{number}",
                round(value, 9) if VIEWS[number] is Unit.SECONDS else float(round(value)),
            )
        )
    minute, second = divmod(step.position, 60)
    at = f"2026-01-02T{step.block % 24:02d}:{minute % 60:02d}:{second:02d}Z"
    return Trial(step=step, outcome=Outcome.OK, started_at=at, elapsed_s=1.0, samples=tuple(samples))

"""What will run, as a flat list, before anything does. Pure: same input, same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import msgspec

from harness import factors
from harness.contract import Scenario
from harness.model import Cell, Config, Outcome, Params, Step, Support, Trial


def choose_runtimes(wanted: Sequence[str], supports: Mapping[str, Support]) -> dict[str, str]:
    """Runtime → why it is not run, or empty. `a|b` means the first that works here; the others are named too."""
    chosen: dict[str, str] = {}
    for entry in wanted:
        taken = ""
        for name in entry.split("|"):
            support = supports[name]
            if not support.available:
                chosen[name] = support.reason or "not available here"
            elif taken:
                chosen[name] = f"{taken} works here and was asked for first"
            else:
                chosen[name], taken = "", name
    return chosen


def cells(config: Config, scenarios: Sequence[Scenario], chosen: Mapping[str, str]) -> Iterator[Cell]:
    """Every combination of scenario, runtime and parameters, and an A/A twin of each reference cell."""
    for scenario in scenarios:
        for params in _grid({**scenario.grid, **config.grid.get(scenario.name, {})}):
            factors.check(params)
            for runtime in chosen:
                yield Cell(scenario=scenario.name, runtime=runtime, params=params)
            if not chosen.get(config.reference, "not asked for"):
                yield Cell(scenario=scenario.name, runtime=config.reference, params=params, twin=True)


def plan(config: Config, scenarios: Sequence[Scenario], supports: Mapping[str, Support], seed: int) -> tuple[Step, ...]:
    """Skipped cells once, with their reason; then blocks, each holding every other cell once in a seeded order.

    Interleaving is what protects a ratio: drift and a noisy neighbour then hit all cells alike. An adaptive request is
    planned to the most blocks it may take; whoever executes it stops where precision is reached.
    """
    chosen = choose_runtimes(config.runtimes, supports)
    by_name = {scenario.name: scenario for scenario in scenarios}
    steps = [
        Step(cell=cell, skip=_reason(cell, by_name[cell.scenario], chosen, supports))
        for cell in cells(config, scenarios, chosen)
    ]
    runnable = [step.cell for step in steps if not step.skip]
    shuffler = random.Random(seed)
    blocks = (
        Step(cell=cell, block=block, position=position, warmup=block < config.warmup_blocks)
        for block in range(config.warmup_blocks + blocks_of(config))
        for position, cell in enumerate(shuffler.sample(runnable, len(runnable)))
    )
    return (*(step for step in steps if step.skip), *blocks)


@dataclass(frozen=True, slots=True)
class Past:
    """What an interrupted run had done: whole blocks and parts of them, and the seconds it measured for."""

    trials: Sequence[Trial] = ()

    @property
    def spent_s(self) -> float:
        """Trials and the waits before them; what lies between two sittings is nobody's."""
        return sum(trial.elapsed_s + trial.settle_s for trial in self.trials)

    @property
    def blocks(self) -> frozenset[int]:
        """Those that were begun."""
        return frozenset(trial.step.block for trial in self.trials if not trial.step.skip)

    def left(self, steps: Sequence[Step], *, repeat_tainted: bool) -> tuple[Step, ...]:
        """What of the same plan is still to do.

        A new process and a rested host are cold again, so the warm-up comes first once more, as another attempt; a
        tainted trial whose repetition was cut off gets it at the end of its block.
        """
        done = {_key(trial.step) for trial in self.trials}
        owed = self._owed() if repeat_tainted else []
        todo = [step for step in steps if not step.warmup and not step.skip and _key(step) not in done]
        if not todo and not owed:
            return ()
        again = 1 + max((trial.step.attempt for trial in self.trials if trial.step.warmup), default=-1)
        warm = [msgspec.structs.replace(step, attempt=again) for step in steps if step.warmup]
        skipped = [step for step in steps if step.skip and _key(step) not in done]
        return (*skipped, *warm, *sorted([*todo, *owed], key=lambda step: step.block))

    def _owed(self) -> list[Step]:
        repeated = {_key(trial.step) for trial in self.trials if trial.step.attempt}
        wanting = (trial.step for trial in self.trials if wants_repetition(trial))
        return [repetition(step) for step in wanting if _key(step) not in repeated]


def wants_repetition(trial: Trial) -> bool:
    """Whether a trial is one of those that are measured once more: tainted, and not a repetition itself."""
    return bool(trial.taints) and trial.outcome is Outcome.OK and not trial.step.warmup and not trial.step.attempt


def repetition(step: Step) -> Step:
    return msgspec.structs.replace(step, attempt=1)


def _key(step: Step) -> tuple[int, bytes]:
    return step.block, msgspec.json.encode(step.cell, order="sorted")


def blocks_of(config: Config) -> int:
    """How many blocks a request may take."""
    return config.most_blocks if config.adaptive else config.blocks


def _reason(cell: Cell, scenario: Scenario, chosen: Mapping[str, str], supports: Mapping[str, Support]) -> str:
    if chosen[cell.runtime]:
        return chosen[cell.runtime]
    lacking = sorted(scenario.needs - set(supports[cell.runtime].features))
    return f"{cell.runtime} has no {', '.join(lacking)}" if lacking else factors.obstacle(cell.params)


def _grid(grid: Mapping[str, Sequence[str]]) -> Iterator[Params]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))

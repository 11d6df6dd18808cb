"""How long a plan will take, from what the same cells took on this host before. What was never measured is said so."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from harness import host, store
from harness.errors import UsageError
from harness.model import Config, Outcome, Step

RUNS = 5
"""How many of the newest runs are asked."""


def sentence(config: Config, steps: Sequence[Step], home: Path) -> str:
    """`63 trials, about 2 min`: warm-up and twins included, repetitions of tainted trials not."""
    todo = [step for step in steps if not step.skip]
    known = _seconds(home)
    took = [known.get((step.cell.scenario, step.cell.runtime)) for step in todo]
    total_s = sum(seconds for seconds in took if seconds is not None)
    unknown = sorted({step.cell.scenario for step, seconds in zip(todo, took, strict=True) if seconds is None})
    most = "at most " if config.adaptive else ""
    parts = [f"{most}{len(todo)} trials"]
    if total_s:
        budget = config.budget_s is not None and config.budget_s < total_s
        parts.append(f"about {_words(config.budget_s if budget and config.budget_s is not None else total_s)}")
    if unknown:
        parts.append(f"no estimate for {', '.join(unknown)}: not measured here before")
    return ", ".join(parts)


def _seconds(home: Path) -> dict[tuple[str, str], float]:
    """(Scenario, runtime) → the median of a trial with the wait before it, over this host's newest runs."""
    here = host.describe().get("host_id")
    took: dict[tuple[str, str], list[float]] = {}
    for folder in list(store.run_folders(home))[-RUNS:]:
        try:
            results = store.read(folder)
        except UsageError:  # a damaged run is somebody else's errand
            continue
        if results.run.host.get("host_id") == here:
            for trial in results.trials:
                if trial.outcome is Outcome.OK:
                    key = (trial.step.cell.scenario, trial.step.cell.runtime)
                    took.setdefault(key, []).append(trial.elapsed_s + trial.settle_s)
    return {key: statistics.median(values) for key, values in took.items()}


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"

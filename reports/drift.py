"""Whether the host stayed the same while it was measured. Interleaving protects ratios from drift; absolute numbers it
does not protect, so what drifted is said beside them.

Two looks that know nothing of each other: the Theil–Sen slope of every series over the order of its trials, and a step
in the canary, which is the same work at the start of every block and no box at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.model import Kind
from reports import units
from reports.summary import Floats, Series, per_trial, split
from reports.tidy import Tidy
from reports.verdicts import MARGIN, SMALLEST_BLOCKS

SURE = 0.01
"""Significance of a step, over all places it could be at."""
_SHORTEST = 5
"""Blocks on either side of a step: fewer could not be told from chance."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How much of its median a series moved from its first trial to its last, with a 95 % interval."""

    series: Series
    change: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """From `block` on the canary of a run took `ratio` times as long."""

    run: str
    block: int
    ratio: float


def drifts(tidy: Tidy) -> Iterator[Drift]:
    """Series whose whole interval of the change lies beyond the practical margin."""
    measured = tidy.measured()
    table = per_trial(measured[~measured["twin"]])
    numbers, indices = table["value"].to_numpy(float), table["index"].to_numpy(float)
    for series, rows in split(table):
        values, order = numbers[rows], indices[rows]
        centre = float(np.median(values))
        if len(values) < SMALLEST_BLOCKS or centre <= 0 or tidy.metrics[series.metric].kind is Kind.EXACT:
            continue
        change = changes(values, order)
        if change is None:
            continue
        found = Drift(series, *change)
        beyond = found.low > MARGIN or found.high < -MARGIN
        if beyond and abs(found.change) * centre > tidy.metrics[series.metric].floor:
            yield found


def changes(values: Floats, order: Floats) -> tuple[float, float, float] | None:
    """By which share of their median values moved from first to last, with a 95 % interval (Theil and Sen).

    None where the middle of the interval is within the margin: then not all of it is beyond, and most series are spared
    the rest.
    """
    length = float(np.ptp(order)) / float(np.median(values))
    apart = order[:, None] - order
    later = apart > 0
    middle = float(np.median((values[:, None] - values)[later] / apart[later]))
    if abs(middle * length) <= MARGIN:
        return None
    slope = stats.theilslopes(values, order, alpha=0.95)
    return slope.slope * length, slope.low_slope * length, slope.high_slope * length


def steps(tidy: Tidy) -> Iterator[Step]:
    """Runs whose canary changed for good at some block."""
    canaries = tidy.trials.dropna(subset=["canary_s"])
    for run, group in canaries.groupby("run", sort=False):
        first = group.drop_duplicates("block").sort_values("block")
        found = changepoint(first["canary_s"].to_numpy(float))
        if found is not None:
            at, ratio = found
            yield Step(str(run), int(first["block"].iloc[at]), ratio)


def sentences(tidy: Tidy) -> Iterator[tuple[str, str, str]]:
    """Scenario, doubt and remedy."""
    remedy = "Ratios inside the run hold, since drift hit all boxes alike; distrust its absolute values."
    moved: dict[str, list[str]] = {}
    for found in drifts(tidy):
        moved.setdefault(found.series.scenario, []).append(
            f"{found.series.metric} on {found.series.runtime} by {_signed(found.change)} "
            f"({_signed(found.low)} to {_signed(found.high)})"
        )
    for scenario, names in moved.items():
        more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
        yield scenario, f"In {scenario} numbers drifted from first to last: {'; '.join(names[:3])}{more}.", remedy
    for step in steps(tidy):
        text = f"From block {step.block} on the canary took {units.ratio(step.ratio)} as long: the host had changed."
        yield "", text, remedy


def _signed(fraction: float) -> str:
    return f"{'+' if fraction > 0 else '−'}{units.percent(abs(fraction))}"


def changepoint(values: Floats) -> tuple[int, float] | None:
    """Where a series steps and by which factor: the split Mann–Whitney is surest of, Bonferroni over all splits."""
    splits = range(_SHORTEST, len(values) - _SHORTEST + 1)
    if not splits or np.ptp(values) == 0:
        return None
    tested = [(float(stats.mannwhitneyu(values[:at], values[at:]).pvalue), at) for at in splits]
    p, at = min(tested)
    ratio = float(np.median(values[at:]) / np.median(values[:at]))
    return (at, ratio) if p * len(splits) < SURE and abs(ratio - 1) > MARGIN else None

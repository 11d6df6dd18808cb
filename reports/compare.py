"""Each series against the reference of its own run: a ratio, its interval and one of few words.

The ratio is that of two medians. Its 95 % interval comes from resampling *blocks*, so that values measured side by side
stay together and drift cancels (Abedi & Brecht, ICPE 2017; Kalibera & Jones, ISMM 2013). All comparisons of a run share
one set of resamples, drawn from the run's own seed: the same file gives the same bits.

A verdict needs a practical margin δ, and takes the widest of three: 5 %, what the A/A twin of the reference differs
from it by (no cause, all noise), and the metric's absolute floor over the reference. The whole interval beyond the
margin is WORSE or BETTER, the whole interval inside is SAME, anything else is INCONCLUSIVE with the number of blocks
that would probably decide. Where the reference is zero, the difference takes the ratio's place.

Mann–Whitney p-values, adjusted by Holm (Scand. J. Statist. 6, 1979) over all comparisons made, only support.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from harness.model import Better, Kind, Metric
from reports.summary import SMALLEST_N, Floats, Series, per_trial
from reports.tidy import SERIES, Tidy, emulated

RESAMPLES = 10_000
SMALLEST_BLOCKS = 10
MARGIN = 0.05
MOST_BLOCKS = 1000
"""Beyond this, more blocks are no advice."""


class Verdict(StrEnum):
    WORSE = "WORSE"
    BETTER = "BETTER"
    SAME = "SAME"
    INCONCLUSIVE = "INCONCLUSIVE"
    TOO_FEW = "no verdict: n too small"
    NO_DIRECTION = "no verdict: neither way is better"
    VARIES = "error: value varies"

    @property
    def decided(self) -> bool:
        return self in (Verdict.WORSE, Verdict.BETTER, Verdict.SAME)


@dataclass(frozen=True, slots=True)
class Effect:
    """How far a series is from its reference, with a 95 % interval. `relative`: a ratio; else a difference.

    Three blocks have only ten different resamples: below six blocks, as for a median, the interval is NaN.
    """

    estimate: float
    low: float
    high: float
    relative: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The smallest difference that counts, on the effect's own scale, and where it comes from."""

    size: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A series against the reference. `n` counts the smaller arm; `needed` the blocks that would probably decide."""

    series: Series
    n: int
    effect: Effect
    margin: Margin
    verdict: Verdict
    exact: bool
    emulated: bool
    p: float = math.nan
    p_holm: float = math.nan
    needed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """All comparisons of some runs, and the A/A effect of each reference series."""

    made: tuple[Comparison, ...]
    twins: Mapping[Series, Effect]


Arm: TypeAlias = "pd.Series[float]"
"""Block → value."""


class _Resampler:
    """How often each block was drawn in each resample, for any number of arms over the same blocks."""

    def __init__(self, seed: int, blocks: Sequence[int]) -> None:
        self.blocks = list(blocks)
        # NumPy seeds are natural numbers; the block count keeps a resumed run from sharing draws with its beginning.
        generator = np.random.default_rng([seed % 2**64, len(blocks)])
        self._counts = generator.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=RESAMPLES)
        self._cache: dict[bytes, Floats] = {}

    def medians(self, arm: Arm) -> Floats:
        """The median of the arm in each resample; NaN where none of its blocks was drawn."""
        values = _floats(arm.reindex(self.blocks))
        key = values.tobytes()
        if key not in self._cache:
            self._cache[key] = self._medians(values)
        return self._cache[key]

    def _medians(self, values: Floats) -> Floats:
        # Counting instead of sorting: over blocks in order of value, the running sum of draws finds the middle ones.
        order = [int(i) for i in np.argsort(values, kind="stable") if not math.isnan(values[i])]
        running = np.cumsum(self._counts[:, order].astype(np.int32), axis=1)
        drawn = running[:, -1]
        ordered = np.append(values[order], math.nan)
        lower = (running <= ((drawn - 1) // 2)[:, None]).sum(axis=1)
        upper = (running <= (drawn // 2)[:, None]).sum(axis=1)
        middle: Floats = (ordered[lower] + ordered[upper]) / 2
        return np.where(drawn > 0, middle, math.nan)


def compare(tidy: Tidy) -> Comparisons:
    """Every measured series that has a reference value in its own run."""
    values = per_trial(tidy.measured())
    arms = _arms(values[~values["twin"]])
    copies = _arms(values[values["twin"]])
    resamplers = {
        str(run): _Resampler(tidy.run(str(run)).seed, sorted(int(block) for block in group["block"].unique()))
        for run, group in values.groupby("run", sort=False)
    }
    twins = {
        series: _effect(_Pair(series, tidy.metrics[series.metric], arms[series], copy), resamplers[series.run])
        for series, copy in copies.items()
        if series in arms
    }
    made = []
    for series, arm in arms.items():
        base = replace(series, runtime=tidy.run(series.run).config.reference)
        if series != base and base in arms:
            pair = _Pair(series, tidy.metrics[series.metric], arms[base], arm)
            slow = emulated(tidy.run(series.run), series.runtime)
            made.append(_compare(pair, twins.get(base), resamplers[series.run], slow))
    return Comparisons(made=_with_holm(made), twins=twins)


@dataclass(frozen=True, slots=True)
class _Pair:
    series: Series
    metric: Metric
    base: Arm
    arm: Arm

    @property
    def n(self) -> int:
        return min(len(self.base), len(self.arm))

    @property
    def exact(self) -> bool:
        return self.metric.kind is Kind.EXACT

    @property
    def varies(self) -> bool:
        return self.exact and (self.base.nunique() > 1 or self.arm.nunique() > 1)


def _compare(pair: _Pair, twin: Effect | None, resampler: _Resampler, slow: bool) -> Comparison:
    effect = _effect(pair, resampler)
    margin = _margin(pair, effect, twin)
    verdict = _verdict(pair, effect, margin.size)
    return Comparison(
        series=pair.series,
        n=pair.n,
        effect=effect,
        margin=margin,
        verdict=verdict,
        exact=pair.exact,
        emulated=slow,
        p=math.nan if pair.exact else _mann_whitney(_floats(pair.base), _floats(pair.arm)),
        needed=_needed(effect, margin.size, pair.n) if verdict is Verdict.INCONCLUSIVE else None,
    )


def _arms(values: pd.DataFrame) -> dict[Series, Arm]:
    """Per series one value a block: a trial that was repeated in its block counts once, with the median."""
    return {
        Series.of(key): group.groupby("block")["value"].median() for key, group in values.groupby(SERIES, sort=False)
    }


def _floats(arm: Arm) -> Floats:
    return np.asarray(arm, dtype=np.float64)


def _effect(pair: _Pair, resampler: _Resampler) -> Effect:
    centre, other = float(pair.base.median()), float(pair.arm.median())
    relative = centre > 0
    estimate = other / centre if relative else other - centre
    if pair.exact and not pair.varies:
        return Effect(estimate, estimate, estimate, relative)
    if pair.n < SMALLEST_N:
        return Effect(estimate, math.nan, math.nan, relative)
    bases, others = resampler.medians(pair.base), resampler.medians(pair.arm)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = others / bases if relative else others - bases
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Effect(estimate, float(low), float(high), relative)


def _margin(pair: _Pair, effect: Effect, twin: Effect | None) -> Margin:
    if not effect.relative:
        return Margin(size=pair.metric.floor, source="absolute floor")
    sizes = {"practical": MARGIN, "absolute floor": pair.metric.floor / float(pair.base.median())}
    if twin and twin.relative and twin.estimate > 0 and not pair.exact:
        sizes["A/A twin"] = max(twin.estimate, 1 / twin.estimate) - 1
    source = max(sizes, key=lambda name: sizes[name])
    return Margin(size=sizes[source], source=source)


def _verdict(pair: _Pair, effect: Effect, margin: float) -> Verdict:
    if pair.varies:
        return Verdict.VARIES
    if pair.metric.better is Better.NEITHER:
        return Verdict.NO_DIRECTION
    if pair.n < SMALLEST_BLOCKS and not pair.exact:
        return Verdict.TOO_FEW
    centre = 1.0 if effect.relative else 0.0
    if effect.low >= centre - margin and effect.high <= centre + margin:
        return Verdict.SAME
    more, less = effect.low > centre + margin, effect.high < centre - margin
    if not (more or less):
        return Verdict.INCONCLUSIVE
    return Verdict.WORSE if more is (pair.metric.better is Better.LOWER) else Verdict.BETTER


def _needed(effect: Effect, margin: float, n: int) -> int | None:
    """The blocks at which an interval of this shape would clear the margin, as widths shrink with √n."""
    centre = 1.0 if effect.relative else 0.0
    room = abs(abs(effect.estimate - centre) - margin)
    width = max(effect.high - effect.estimate, effect.estimate - effect.low)
    if room <= 0 or width <= 0:
        return None
    blocks = math.ceil(n * (width / room) ** 2)
    return max(blocks, n + 1) if blocks <= MOST_BLOCKS else None


def _mann_whitney(base: Floats, arm: Floats) -> float:
    if np.ptp(np.concatenate([base, arm])) == 0:
        return 1.0
    return float(stats.mannwhitneyu(base, arm, alternative="two-sided").pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment. SciPy 1.17 offers only Benjamini–Hochberg, which controls another error."""
    adjusted = [math.nan] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def _with_holm(made: Sequence[Comparison]) -> tuple[Comparison, ...]:
    sampled = [c for c in made if not math.isnan(c.p)]
    adjusted = dict(zip((c.series for c in sampled), holm([c.p for c in sampled]), strict=True))
    return tuple(replace(c, p_holm=adjusted.get(c.series, math.nan)) for c in made)

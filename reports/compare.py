"""Each series against the reference of its own run: a ratio, its interval and a verdict (`reports.verdicts`).

All comparisons of a run share one set of resamples of its blocks, drawn from the run's own seed: the same file gives
the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports.resample import Resampler, arms
from reports.summary import Series, per_trial
from reports.tidy import Tidy, emulated
from reports.verdicts import Effect, Margin, Pair, Verdict, holm, mann_whitney, needed


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


def compare(tidy: Tidy) -> Comparisons:
    """Every measured series that has a reference value in its own run."""
    values = per_trial(tidy.measured())
    own, draws = arms(values[~values["twin"]]), resamplers(tidy, values)
    twins = twin_effects(tidy, values, draws)
    made, tested = [], []
    for series, arm in own.items():
        base = replace(series, runtime=tidy.run(series.run).config.reference)
        if series != base and base in own:
            shared = draws[series.run]
            pair = Pair(tidy.metrics[series.metric], own[base], arm, shared, shared)
            slow = emulated(tidy.run(series.run), series.runtime)
            made.append(judge(series, pair, [twins[base]] if base in twins else [], slow))
            tested.append(pair)
    return Comparisons(made=with_support(made, tested), twins=twins)


def resamplers(tidy: Tidy, values: pd.DataFrame) -> dict[str, Resampler]:
    """Run → its draws, over every block anything was measured in."""
    return {
        str(run): Resampler(
            tidy.run(str(run)).seed,
            sorted(int(block) for block in group["block"].unique()),
            tuple(tidy.run(str(run)).sessions.values()),
        )
        for run, group in values.groupby("run", sort=False)
    }


def twin_effects(tidy: Tidy, values: pd.DataFrame, draws: Mapping[str, Resampler]) -> dict[Series, Effect]:
    """What each reference series differs from its A/A twin by: no cause, all noise."""
    own = arms(values[~values["twin"]])
    return {
        series: Pair(tidy.metrics[series.metric], own[series], copy, draws[series.run], draws[series.run]).effect()
        for series, copy in arms(values[values["twin"]]).items()
        if series in own
    }


def judge(series: Series, pair: Pair, twins: Sequence[Effect], slow: bool, limit: float | None = None) -> Comparison:
    """One pair as a comparison; `limit` is a gate's own margin."""
    effect = pair.effect()
    margin = pair.margin(effect, twins, limit)
    verdict = pair.verdict(effect, margin.size)
    return Comparison(
        series=series,
        n=pair.n,
        effect=effect,
        margin=margin,
        verdict=verdict,
        exact=pair.exact,
        emulated=slow,
        needed=needed(effect, margin.size, pair.n) if verdict is Verdict.INCONCLUSIVE else None,
    )


def with_support(made: Sequence[Comparison], pairs: Sequence[Pair]) -> tuple[Comparison, ...]:
    """The same comparisons, each with the p-value of its pair, and with that adjusted over all of them."""
    found = mann_whitney(pairs)
    sampled = [number for number, p in enumerate(found) if not math.isnan(p)]
    adjusted = dict(zip(sampled, holm([found[number] for number in sampled]), strict=True))
    return tuple(
        replace(one, p=p, p_holm=adjusted.get(number, math.nan))
        for number, (one, p) in enumerate(zip(made, found, strict=True))
    )

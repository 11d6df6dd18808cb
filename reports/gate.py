"""Old against new, metric by metric: the comparer behind `tare compare`.

Two runtimes of one run were measured in the same blocks, which are resampled together. Two runs were not: each is
resampled by itself, and what its own A/A twins differ by widens the margin on either side. A limit of the gate takes
the place of the practical margin and is judged on the interval's bound, never on the point: a regression is proven or
it is none. What cannot be judged, because a side has no value or a percentage is of zero, is named and has no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness import gate as rules
from harness.errors import UsageError
from harness.gate import Limit, Question, Ruling, Side
from harness.model import Metric
from reports import tidy
from reports.compare import Comparison, judge, twin_effects, with_support
from reports.gate_documents import DOCUMENTS, GateRow, Verdicts
from reports.resample import Arm, Resampler, arms
from reports.summary import Series, per_trial
from reports.tidy import Tidy, emulated
from reports.verdicts import Effect, Pair, Verdict

Key = tuple[str, str, str, str, str]
"""Scenario, runtime (empty when the side is one), parameters, metric, labels: what both sides call the same."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One side, measured: its arms, draws, and what its twins differ by."""

    side: Side
    data: Tidy
    arms: Mapping[Key, Arm]
    series: Mapping[Key, Series]
    draws: Resampler | None
    twins: Mapping[tuple[str, str, str, str], Effect]

    @classmethod
    def of(cls, side: Side, stream: int) -> Sample:
        data = tidy.read([side.results])
        run = side.results.run
        values = per_trial(data.measured())
        blocks = sorted(int(block) for block in values["block"].unique())
        draws = Resampler(run.seed, blocks, tuple(run.sessions.values()), stream) if blocks else None
        own = arms(values[~values["twin"] & _chosen(values, side)])
        twins = twin_effects(data, values, {run.id: draws}) if draws else {}
        return cls(
            side=side,
            data=data,
            arms={_key(series, side): arm for series, arm in own.items()},
            series={_key(series, side): series for series in own},
            draws=draws,
            twins={(s.scenario, s.params, s.metric, s.labels): effect for s, effect in twins.items()},
        )

    def trials(self) -> pd.DataFrame:
        kept = self.data.trials
        return kept[~kept["warmup"] & ~kept["twin"] & (kept["outcome"] != "skipped") & _chosen(kept, self.side)]


@dataclass(frozen=True, slots=True)
class Gate:
    """`Comparer` of the contract."""

    def compare(self, question: Question) -> Ruling:
        found = rules.differences(question.old, question.new)
        refused = any(one.decides for one in found) and not question.force
        shell = Verdicts(question=question, differences=found, refused=refused)
        if refused:
            return Ruling(DOCUMENTS[question.form](shell), rules.NOT_COMPARABLE)
        old = Sample.of(question.old, 0)
        # One run's runtimes share its draws; another run needs draws of its own, even under the same seed.
        new = Sample.of(question.new, 0 if question.old.results.run.id == question.new.results.run.id else 1)
        _check_limits(question.limits, old, new)
        rows = tuple(_rows(question, old, new))
        if not rows:
            shell = replace(shell, refused=True, nothing_common=True)
            return Ruling(DOCUMENTS[question.form](shell), rules.NOT_COMPARABLE)
        judged = replace(shell, rows=rows)
        return Ruling(DOCUMENTS[question.form](judged), _code(question, rows))


def _code(question: Question, rows: Sequence[GateRow]) -> int:
    gated = [row for row in rows if row.gated]
    verdicts = {row.comparison.verdict for row in gated if row.comparison}
    if Verdict.WORSE in verdicts:
        return rules.REGRESSION
    if any(row.problem for row in gated):
        return rules.NOT_COMPARABLE
    undecided = {Verdict.INCONCLUSIVE, Verdict.TOO_FEW, Verdict.VARIES} & verdicts
    return rules.INCONCLUSIVE if question.strict and undecided else 0


def _rows(question: Question, old: Sample, new: Sample) -> Iterator[GateRow]:
    """Every metric of every cell that both sides tried, in the order of the old side."""
    made: list[GateRow] = []
    pairs: list[Pair] = []
    for key in dict.fromkeys([*old.arms, *new.arms]):
        metric = (old.data.metrics if key in old.arms else new.data.metrics)[key[3]]
        limit = next((one for one in question.limits if one.covers(metric.name)), None)
        gated = limit is not None or (question.strict and not question.limits)
        row = GateRow(key=key, metric=metric, gated=gated, limit=limit.text.partition(":")[2].strip() if limit else "")
        if key in old.arms and key in new.arms:
            pair = _pair(row, old, new)
            made.append(_judged(row, limit, pair, (old, new)))
            pairs += [pair] if made[-1].comparison else []
        elif (problem := _missing(key, old, new)) is not None:
            made.append(replace(row, problem=problem))
    adjusted = iter(with_support([row.comparison for row in made if row.comparison], pairs))
    yield from (replace(row, comparison=next(adjusted)) if row.comparison else row for row in made)


def _pair(row: GateRow, old: Sample, new: Sample) -> Pair:
    assert old.draws is not None and new.draws is not None
    draws = (old.draws, new.draws) if old.side.results.run.id != new.side.results.run.id else (old.draws, old.draws)
    return Pair(row.metric, old.arms[row.key], new.arms[row.key], *draws)


def _judged(row: GateRow, limit: Limit | None, pair: Pair, samples: tuple[Sample, Sample]) -> GateRow:
    _, new = samples
    row = replace(row, old=pair.base.median, new=pair.arm.median)
    effect = pair.effect()
    size, problem = _size(limit, effect, pair.base.median)
    if problem:
        return replace(row, problem=problem)
    twins = [side.twins[key] for side in samples if (key := _twin_key(row.key)) in side.twins]
    series = new.series[row.key]
    comparison: Comparison = judge(series, pair, twins, emulated(new.side.results.run, series.runtime), size)
    return replace(row, comparison=comparison)


def _size(limit: Limit | None, effect: Effect, base: float) -> tuple[float | None, str]:
    """The limit on the effect's own scale, or why it has none."""
    if limit is None:
        return None, ""
    if limit.unit is None:
        return (limit.size, "") if effect.relative else (None, f"a percentage of {base:g} means nothing")
    return (limit.size / base if effect.relative else limit.size), ""


def _missing(key: Key, old: Sample, new: Sample) -> str | None:
    """Why one side has no value for what the other has; None when it never tried, or its boxes have no such thing."""
    silent, name = (new, "new") if key in old.arms else (old, "old")
    trials = silent.trials()
    tried = trials[(trials["scenario"] == key[0]) & (trials["params"] == key[2])]
    if key[1]:
        tried = tried[tried["runtime"].map(silent.side.common) == key[1]]
    if tried.empty:
        return None
    lost = int((tried["outcome"] != "ok").sum())
    return f"the {name} side has no value: {lost} of {len(tried)} trials were lost" if lost else None


def _check_limits(limits: Sequence[Limit], old: Sample, new: Sample) -> None:
    """A limit that watches nothing would be a gate that is always open."""
    metrics: dict[str, Metric] = {**old.data.metrics, **new.data.metrics}
    for limit in limits:
        covered = [metric for name, metric in metrics.items() if limit.covers(name)]
        if not covered:
            raise UsageError(f"no metric is called {limit.pattern!r}", hint=f"there are: {', '.join(sorted(metrics))}")
        for metric in covered:
            limit.check(metric)


def _chosen(frame: pd.DataFrame, side: Side) -> pd.Series[bool]:
    return frame["runtime"].map(side.holds).astype(bool)


def _key(series: Series, side: Side) -> Key:
    return series.scenario, side.common(series.runtime), series.params, series.metric, series.labels


def _twin_key(key: Key) -> tuple[str, str, str, str]:
    return key[0], key[2], key[3], key[4]


gate = Gate()

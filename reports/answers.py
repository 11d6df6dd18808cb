"""Verdicts as sentences: what a reader who reads nothing else should take away.

Every sentence is made from comparisons alone, says its interval and its number of blocks, and never says more than the
verdict does. A question whose headline is a family of like metrics (`cpu.integer.time`, `cpu.crypto.time`, …) gets one
sentence for the family.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.model import Metric, Run, ScenarioFacts, Unit
from reports import units
from reports.compare import Comparison, Comparisons
from reports.summary import Series, Summary
from reports.tidy import Tidy, emulated, runtimes
from reports.verdicts import Verdict

EMULATION = "Emulation, which says nothing about hardware virtualization."
_VERBS = {
    Unit.SECONDS: ("takes", "as long as"),
    Unit.BYTES: ("takes", "the bytes of"),
    Unit.RATIO: ("reads", "the value of"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sentence about one box and one question."""

    scenario: str
    runtime: str
    text: str
    emulated: bool
    verdict: Verdict | None
    """None where the members of a family differ."""


def answers(tidy: Tidy, summaries: Sequence[Summary], comparisons: Comparisons) -> tuple[Answer, ...]:
    """The headline of every question for every box, boxes with hardware under them first."""
    medians = {summary.series: summary for summary in summaries}
    found = [
        answer
        for run in tidy.runs
        for scenario in run.scenarios
        for answer in _of_scenario(run, scenario, tidy, comparisons.made, medians)
    ]
    return tuple(sorted(found, key=lambda answer: answer.emulated))


def headline(scenario: ScenarioFacts, made: Sequence[Comparison]) -> tuple[str, ...]:
    """The first metric of a scenario that could be compared, with those that differ from it in the middle only.

    A size that is exactly the same everywhere answers nothing and is passed over when there is another.
    """
    own = [c for c in made if c.series.scenario == scenario.name]
    compared = {c.series.metric for c in own if not (c.exact and c.effect.estimate == 1)} or {
        c.series.metric for c in own
    }
    names = [metric.name for metric in scenario.metrics if metric.name in compared]
    if not names:
        return ()
    first = names[0].split(".")
    return tuple(name for name in names if len(first) == 3 and _ends(name) == _ends(names[0])) or (names[0],)


def _ends(name: str) -> tuple[str, str, int]:
    parts = name.split(".")
    return parts[0], parts[-1], len(parts)


def _of_scenario(
    run: Run,
    scenario: ScenarioFacts,
    tidy: Tidy,
    made: Sequence[Comparison],
    medians: Mapping[Series, Summary],
) -> Iterator[Answer]:
    names = headline(scenario, made)
    chosen = [
        c for c in made if c.series.run == run.id and c.series.scenario == scenario.name and c.series.metric in names
    ]
    order = {name: place for place, name in enumerate(runtimes(run))}
    chosen.sort(key=lambda c: (order.get(c.series.runtime, len(order)), c.series.runtime, c.series.params))
    for (runtime, params), group in groupby(chosen, key=lambda c: (c.series.runtime, c.series.params)):
        family = list(group)
        slow = emulated(run, runtime)
        shown = tidy.where(scenario.name, params)
        where = f" with {shown}" if shown else ""
        box = units.box(runtime, emulated=slow) + where
        reference = run.config.reference
        if len(family) == 1:
            base = medians.get(_at(family[0].series, reference))
            text = _one(
                box, reference, family[0], tidy.metrics[family[0].series.metric], medians[family[0].series], base
            )
        else:
            text = _many(box, reference, family)
        yield Answer(
            scenario=scenario.name,
            runtime=runtime,
            text=f"{text} {EMULATION}" if slow and not family[0].exact else text,
            emulated=slow,
            verdict=_joint(family),
        )


def _at(series: Series, runtime: str) -> Series:
    return Series(
        run=series.run,
        scenario=series.scenario,
        runtime=runtime,
        params=series.params,
        metric=series.metric,
        labels=series.labels,
    )


def _one(box: str, reference: str, comparison: Comparison, metric: Metric, own: Summary, base: Summary | None) -> str:
    effect = comparison.effect
    values = units.value(own.median, metric.unit)
    if base is not None:
        values += f" against {units.value(base.median, metric.unit)}"
    if not effect.relative:
        return f"{metric.name}: {box} differs from {reference} by {values}. {_ending(comparison, metric)}"
    if comparison.exact and effect.estimate == 1:
        return f"{metric.name}: {box} and {reference} are exactly equal ({units.value(own.median, metric.unit)})."
    verb, measure = _VERBS[metric.unit]
    known = not comparison.exact and not math.isnan(effect.low)
    span = f"; 95 % interval {units.ratio_interval(effect.low, effect.high)}" if known else ""
    return (
        f"{metric.name}: {box} {verb} {units.ratio(effect.estimate)} {measure} {reference} "
        f"({values}{span}). {_ending(comparison, metric)}"
    )


def _ending(comparison: Comparison, metric: Metric) -> str:
    blocks = "exact" if comparison.exact else f"{comparison.n} blocks"
    if comparison.verdict is Verdict.SAME:
        return f"SAME within ±{margin_text(comparison, metric)} ({blocks})."
    if comparison.verdict is Verdict.INCONCLUSIVE and comparison.needed:
        return f"INCONCLUSIVE ({blocks}; about {comparison.needed} would decide)."
    return f"{capital(comparison.verdict)} ({blocks})."


def _many(box: str, reference: str, family: Sequence[Comparison]) -> str:
    counts = {verdict: sum(c.verdict is verdict for c in family) for verdict in Verdict}
    words = ", ".join(f"{count} {_counted(verdict)}" for verdict, count in counts.items() if count)
    ratios = sorted(c.effect.estimate for c in family if c.effect.relative)
    first, *_, last = family[0].series.metric.split(".")
    spread = f"ratios from {units.ratio(ratios[0])} to {units.ratio(ratios[-1])}" if ratios else "no ratios"
    blocks = min(c.n for c in family)
    return (
        f"{first}.*.{last}: {box} against {reference} in {len(family)} kinds of work: "
        f"{words}; {spread} ({blocks} blocks)."
    )


def _counted(verdict: Verdict) -> str:
    return str(verdict) if verdict.decided or verdict is Verdict.INCONCLUSIVE else f"with {verdict}"


def _joint(family: Sequence[Comparison]) -> Verdict | None:
    verdicts = {c.verdict for c in family}
    return verdicts.pop() if len(verdicts) == 1 else None


def margin_text(comparison: Comparison, metric: Metric) -> str:
    """The smallest difference that counts: a share of the reference, or an amount where the absolute floor decides."""
    if comparison.margin.source == "absolute floor":
        return units.value(metric.floor, metric.unit)
    return units.percent(comparison.margin.size)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]

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
from reports.verdicts import SMALLEST_BLOCKS, Verdict

EMULATION = "Emulation, which says nothing about hardware virtualization."
_MEASURES = {Unit.SECONDS: "as long as", Unit.BYTES: "as much as", Unit.RATIO: "the value of"}
_VERBS = {
    "boot.ready": "is ready after {}",
    "boot.service": "answers its first HTTP request after {}",
    "idle.cpu": "uses {} of a CPU while nothing happens",
    "memory.pss": "holds {} of memory",
    "disk.transfer": "is {} to ship",
    "disk.content": "unpacks to {}",
}
"""What everybody asks, in everybody's words. Any other metric is called by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sentence about one box and one question, and its verdict with what belongs to it in words."""

    run: str
    scenario: str
    runtime: str
    said: str
    ending: str
    sized: bool
    """It is about a size, which is the same under emulation."""
    emulated: bool
    verdict: Verdict | None
    """None where the members of a family differ."""

    @property
    def text(self) -> str:
        """Whole, to stand by itself."""
        sentences = (self.said, self.ending, EMULATION if self.emulated and not self.sized else "")
        return " ".join(sentence for sentence in sentences if sentence)


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
        one = family[0]
        if len(family) == 1:
            base = medians.get(_at(one.series, reference))
            metric = tidy.metrics[one.series.metric]
            said, ending = _one((box, reference), one, metric, medians[one.series], base), _ending(one, metric)
        else:
            said, ending = _many((box, reference), family, tidy.metrics), _counts(family)
        yield Answer(
            run=run.id,
            scenario=scenario.name,
            runtime=runtime,
            said=said,
            ending=ending,
            sized=one.exact,
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


def _one(names: tuple[str, str], comparison: Comparison, metric: Metric, own: Summary, base: Summary | None) -> str:
    box, reference = names
    effect = comparison.effect
    value = units.value(own.median, metric.unit)
    verb = _VERBS.get(metric.name, f"comes to {{}} in {metric.name}").format(value)
    if not effect.relative:
        against = f"; {reference}: {units.value(base.median, metric.unit)}" if base else ""
        return f"{box} {verb}{against}."
    if comparison.exact and effect.estimate == 1:
        return f"{box} {verb}, exactly as much as {reference}."
    known = not comparison.exact and not math.isnan(effect.low)
    span = f" (95 %: {units.ratio_interval(effect.low, effect.high)})" if known else ""
    return f"{box} {verb}, {units.ratio(effect.estimate)} {_MEASURES[metric.unit]} {reference}{span}."


def _ending(comparison: Comparison, metric: Metric) -> str:
    """The verdict; nothing where a size is simply equal."""
    verdict, blocks = comparison.verdict, "exact" if comparison.exact else f"{comparison.n} blocks"
    if comparison.exact and comparison.effect.relative and comparison.effect.estimate == 1:
        return ""
    if verdict is Verdict.SAME:
        return f"SAME within ±{margin_text(comparison, metric)} ({blocks})."
    if verdict is Verdict.INCONCLUSIVE and comparison.needed:
        return f"INCONCLUSIVE ({blocks}; about {comparison.needed} would decide)."
    if verdict is Verdict.TOO_FEW:
        return f"No verdict: {_blocks(comparison.n)} too few, {SMALLEST_BLOCKS} are needed."
    return f"{capital(verdict)} ({blocks})."


def _blocks(count: int) -> str:
    return "1 block is" if count == 1 else f"{count} blocks are"


def _many(names: tuple[str, str], family: Sequence[Comparison], metrics: Mapping[str, Metric]) -> str:
    box, reference = names
    first, *_, last = family[0].series.metric.split(".")
    ratios = sorted(c.effect.estimate for c in family if c.effect.relative)
    if not ratios:
        return f"{box}: {first}.*.{last} in {len(family)} kinds of work, none with a ratio to {reference}."
    ends = list(dict.fromkeys(units.ratio(ratio) for ratio in (ratios[0], ratios[-1])))
    measure = _MEASURES[metrics[family[0].series.metric].unit]
    work = f"{len(family)} kinds of {first.upper() if len(first) < 4 else first} work"
    return f"{box} takes {' to '.join(ends)} {measure} {reference} for {work}."


def _counts(family: Sequence[Comparison]) -> str:
    """`1 WORSE, 2 SAME (12 blocks).`"""
    n = min(c.n for c in family)
    counts = {verdict: sum(c.verdict is verdict for c in family) for verdict in Verdict}
    if counts[Verdict.TOO_FEW] == len(family):
        return f"No verdict: {_blocks(n)} too few, {SMALLEST_BLOCKS} are needed."
    words = (f"{count} {_counted(verdict)}" for verdict, count in counts.items() if count)
    return f"{', '.join(words)} ({n} blocks)."


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

"""One metric of one question as rows, a row a box: the same for the terminal and for the page.

A box without a number keeps its row and says why: it failed, was skipped, or has no such thing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.model import Metric, Run, ScenarioFacts
from reports import units
from reports.analysis import Analysis
from reports.compare import Comparison
from reports.summary import Summary
from reports.tidy import runtimes
from reports.verdicts import Verdict

MARKS = {
    Verdict.WORSE: "▲",
    Verdict.BETTER: "▼",
    Verdict.SAME: "=",
    Verdict.INCONCLUSIVE: "?",
    Verdict.TOO_FEW: "…",
    Verdict.NO_DIRECTION: "",
    Verdict.VARIES: "!",
}


def brief(verdict: Verdict) -> str:
    """The verdict where there is little room: the page says elsewhere how many blocks it takes."""
    return "too few blocks" if verdict is Verdict.TOO_FEW else str(verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A box's line: its summary and comparison where there are any, else `why` not."""

    box: str
    runtime: str
    emulated: bool
    metric: Metric
    summary: Summary | None = None
    comparison: Comparison | None = None
    why: str = ""
    absent: bool = False
    """The box ran but has no such thing; otherwise, without a summary, it did not run or never ran well."""

    @property
    def key(self) -> str:
        """Runtime and parameters: what a page's filter goes by."""
        return f"{self.runtime}|{self.summary.series.params if self.summary else ''}"

    @property
    def n(self) -> str:
        """Good trials; `18/20` when some were lost."""
        if self.summary is None:
            return ""
        lost = self.summary.failures + self.summary.timeouts
        return f"{self.summary.n}/{self.summary.n + lost}" if lost else f"{self.summary.n}"

    @property
    def lost(self) -> str:
        """`✕ 2 of 20 lost`; nothing when all went well, or when the box was not asked."""
        if self.summary:
            lost = self.summary.failures + self.summary.timeouts
            return f"✕ {lost} of {self.summary.n + lost} lost" if lost else ""
        return "✕ all lost" if self.why.startswith(("failed", "timeout")) else ""

    @property
    def missing(self) -> str:
        """`2 lost`, `all lost`, or nothing: the same in fewer words, beside a name."""
        return f"{self.summary.failures + self.summary.timeouts} lost" if self.summary and self.lost else self.lost[2:]

    @property
    def median(self) -> str:
        return units.value(self.summary.median, self.metric.unit) if self.summary else units.NOTHING

    @property
    def interval(self) -> str:
        s = self.summary
        if s is None:
            return ""
        if s.exact:
            return units.interval(s.minimum, s.maximum, self.metric.unit) if s.varies else "exact"
        return "n too small" if math.isnan(s.low) else units.interval(s.low, s.high, self.metric.unit)

    @property
    def ratio(self) -> str:
        if self.comparison is None:
            return ""
        effect = self.comparison.effect
        if effect.relative:
            return units.ratio(effect.estimate)
        sign = "+" if effect.estimate > 0 else ""
        return f"{sign}{units.value(effect.estimate, self.metric.unit)}"

    @property
    def ratio_interval(self) -> str:
        if self.comparison is None or self.comparison.exact or math.isnan(self.comparison.effect.low):
            return ""
        effect = self.comparison.effect
        if effect.relative:
            return units.ratio_interval(effect.low, effect.high)
        return units.interval(effect.low, effect.high, self.metric.unit)

    @property
    def verdict(self) -> str:
        if self.comparison is None or self.comparison.verdict is Verdict.NO_DIRECTION:
            return ""
        return str(self.comparison.verdict)

    @property
    def mark(self) -> str:
        return MARKS[self.comparison.verdict] if self.comparison else ""


def rows(analysis: Analysis, run: Run, scenario: ScenarioFacts, metric: Metric) -> tuple[Row, ...]:
    """All boxes of the run, reference first; empty when no box has a value."""
    found = [row for runtime in runtimes(run) for row in _of_box(analysis, run, (scenario.name, runtime), metric)]
    return tuple(found) if any(row.summary for row in found) else ()


def unmeasured(found: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Why → the boxes without a number for that reason, each named once."""
    without: dict[str, dict[str, None]] = {}
    for row in found:
        if row.summary is None:
            without.setdefault(row.why, {})[row.box] = None
    return {why: tuple(boxes) for why, boxes in without.items()}


def _of_box(analysis: Analysis, run: Run, cell: tuple[str, str], metric: Metric) -> Iterator[Row]:
    scenario, runtime = cell
    slow = run.supports[runtime].emulated if runtime in run.supports else False
    box = units.box(runtime, emulated=slow)
    wanted = (run.id, scenario, runtime, metric.name)
    own = analysis.by_cell.get(wanted, ())
    for summary in own:
        where = analysis.tidy.where(scenario, summary.series.params, summary.series.labels)
        yield Row(
            box=f"{box} {where}".rstrip(),
            runtime=runtime,
            emulated=slow,
            metric=metric,
            summary=summary,
            comparison=analysis.compared.get(summary.series),
        )
    if not own:
        yield from _without(analysis, wanted, Row(box=box, runtime=runtime, emulated=slow, metric=metric))


def _without(analysis: Analysis, wanted: tuple[str, str, str, str], row: Row) -> Iterator[Row]:
    """A row that says why there is no number. A runtime nobody asked for has none."""
    cell = wanted[:3]
    if wanted in analysis.absences:
        yield replace(row, why=analysis.absences[wanted], absent=True)
    elif cell in analysis.losses:
        yield replace(row, why=analysis.losses[cell])
    elif cell in analysis.tried:
        yield replace(row, why="gave no value", absent=True)

"""Everything at a glance: a row a headline, a column a box, in each cell the ratio and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model import Metric, Run, ScenarioFacts
from reports import units
from reports.analysis import Analysis
from reports.answers import headline
from reports.tables import Row, rows
from reports.tidy import emulated, runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    runtime: str
    box: str
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One headline under one set of parameters; `cells` are in the order of the columns."""

    scenario: ScenarioFacts
    metric: Metric
    where: str
    cells: tuple[Row | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    run: Run
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def glances(analysis: Analysis) -> tuple[Glance, ...]:
    """One table a run; none for a run in which nothing was measured."""
    found = (_glance(analysis, run) for run in analysis.tidy.runs)
    return tuple(glance for glance in found if glance.lines and glance.columns)


def _glance(analysis: Analysis, run: Run) -> Glance:
    measured = {s.series.runtime for s in analysis.summaries if s.series.run == run.id}
    columns = tuple(
        Column(runtime=name, box=units.box(name, emulated=slow), emulated=slow)
        for slow in (False, True)
        for name in runtimes(run)
        if name in measured and emulated(run, name) is slow
    )
    lines = []
    for scenario in run.scenarios:
        names = headline(scenario, analysis.comparisons.made) or tuple(m.name for m in scenario.metrics[:1])
        for metric in scenario.metrics:
            if metric.name in names:
                lines += _lines(analysis, (run, scenario, metric), columns)
    return Glance(run=run, columns=columns, lines=tuple(lines))


def _lines(analysis: Analysis, what: tuple[Run, ScenarioFacts, Metric], columns: tuple[Column, ...]) -> list[Line]:
    run, scenario, metric = what
    by_where: dict[str, dict[str, Row]] = {}
    for row in rows(analysis, run, scenario, metric):
        if row.summary:
            where = analysis.tidy.where(scenario.name, row.summary.series.params, row.summary.series.labels)
            by_where.setdefault(where, {})[row.runtime] = row
    return [
        Line(scenario=scenario, metric=metric, where=where, cells=tuple(found.get(c.runtime) for c in columns))
        for where, found in by_where.items()
    ]

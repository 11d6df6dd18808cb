"""Which pictures and rows answer a question: decided by the metrics' own names and kinds, for any scenario.

Hardware and emulation get a panel each. Parts of a whole are stacked, exact values are bars, everything else shows all
its points; ratios to the reference come first and the order of measurement last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.model import Better, Kind, Metric, Run, ScenarioFacts
from reports import charts
from reports.analysis import Analysis
from reports.answers import headline
from reports.caveats import Caveat
from reports.marks import Chart, Panel
from reports.palette import Style
from reports.tables import Row, rows, unmeasured

PHASE = ".phase."
OWNERS = (("memory.guest_resident", "guest memory"), ("memory.vmm", "its monitor"), ("memory.pss", "processes"))
"""Who holds a box's memory: the guest and its monitor, or plain processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One panel: hardware or emulation. `unmeasured` maps a reason to the boxes it kept out."""

    emulated: bool
    charts: tuple[Chart, ...]
    tables: Mapping[Metric, tuple[Row, ...]]
    unmeasured: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A scenario of a run with all that is shown for it."""

    run: Run
    scenario: ScenarioFacts
    sides: tuple[Side, ...]
    caveats: tuple[Caveat, ...]


def questions(analysis: Analysis, styles: Mapping[str, Style]) -> tuple[Question, ...]:
    """Every scenario in which some box was measured, run by run."""
    found = []
    for run in analysis.tidy.runs:
        for scenario in run.scenarios:
            sides = tuple(side for flag in (False, True) for side in _side(analysis, run, scenario, flag, styles))
            about = tuple(c for c in analysis.caveats if c.scenario == scenario.name)
            if sides:
                found.append(Question(run=run, scenario=scenario, sides=sides, caveats=about))
    return tuple(found)


def _side(
    analysis: Analysis, run: Run, scenario: ScenarioFacts, emulated: bool, styles: Mapping[str, Style]
) -> Iterator[Side]:
    tables = {
        metric: tuple(row for row in rows(analysis, run, scenario, metric) if row.emulated is emulated)
        for metric in scenario.metrics
    }
    tables = {metric: found for metric, found in tables.items() if any(row.summary for row in found)}
    if not tables:
        return
    measured = analysis.tidy.measured()
    chosen = (measured["run"] == run.id) & (measured["scenario"] == scenario.name) & ~measured["twin"]
    panel = Panel(
        rows={metric.name: found for metric, found in tables.items()},
        points=measured[chosen & (measured["emulated"] == emulated)],
        styles=styles,
        metrics=analysis.tidy.metrics,
    )
    leading = headline(scenario, analysis.comparisons.made) or (scenario.metrics[0].name,)
    yield Side(
        emulated=emulated,
        charts=tuple(_charts(panel, tables, leading, run.config.reference)),
        tables=tables,
        unmeasured=unmeasured([row for found in tables.values() for row in found if not row.absent]),
    )


def _charts(
    panel: Panel, tables: Mapping[Metric, tuple[Row, ...]], leading: tuple[str, ...], reference: str
) -> Iterator[Chart]:
    parts = [name for name in panel.rows if PHASE in name]
    owners = [(name, label) for name, label in OWNERS if name in panel.rows]
    exact = [m.name for m in tables if m.kind is Kind.EXACT and m.better is not Better.NEITHER]
    sampled = [m.name for m in tables if m.kind is Kind.SAMPLED and m.name not in parts]
    compared = [m for m in (*leading, *sampled, *exact) if m in panel.rows and _directed(panel, m)]
    title = f"Ratio to {reference}; grey is the margin within which nothing counts"
    forest = charts.forest(panel, list(dict.fromkeys(compared)), title)
    if forest:
        yield forest
    if sampled:
        yield charts.strip(panel, sampled, "Every measurement; median and 95 % interval")
    if parts:
        yield charts.stack(
            panel, [(name, name.split(PHASE)[1]) for name in parts], "Where the time goes: median phases"
        )
    if len(owners) > 1:
        yield charts.stack(_owned(panel), owners, "Who holds the memory: medians")
    if exact:
        yield charts.bars(panel, exact, "Exact sizes")
    varying = [name for name in leading if name in sampled]
    if varying:
        yield charts.progression(panel, varying[0], f"{varying[0]} in the order of measurement")


def _directed(panel: Panel, name: str) -> bool:
    return panel.metrics[name].better is not Better.NEITHER


def _owned(panel: Panel) -> Panel:
    """Without the total of those boxes that are split into guest and monitor."""
    split = {row.box for row in panel.drawn("memory.vmm")}
    kept = {
        name: [row for row in found if name != "memory.pss" or row.box not in split]
        for name, found in panel.rows.items()
    }
    return Panel(rows=kept, points=panel.points, styles=panel.styles, metrics=panel.metrics)

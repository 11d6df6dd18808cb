"""Which pictures and rows answer a question: decided by the metrics' own names and kinds, for any scenario.

Hardware and emulation get a panel each. Parts of a whole are stacked, exact values are bars, everything else shows all
its points; ratios to the reference come first and the order of measurement last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.model import Better, Kind, Metric, Run, ScenarioFacts, Unit
from reports import charts, page
from reports.analysis import Analysis
from reports.answers import headline
from reports.caveats import Caveat
from reports.forests import forest
from reports.marks import Chart, Panel
from reports.palette import Style
from reports.progress import progression
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

    anchor: str
    run: Run
    scenario: ScenarioFacts
    sides: tuple[Side, ...]
    caveats: tuple[Caveat, ...]


def questions(analysis: Analysis, styles: Mapping[str, Style]) -> tuple[Question, ...]:
    """Every scenario in which some box was measured, run by run."""
    found = []
    for run in analysis.tidy.runs:
        several = f"{page.anchor(run.id)}." if len(analysis.tidy.runs) > 1 else ""
        for scenario in run.scenarios:
            sides = tuple(side for flag in (False, True) for side in _side(analysis, run, scenario, flag, styles))
            about = tuple(c for c in analysis.caveats if c.scenario == scenario.name)
            anchor = several + page.anchor(scenario.name)
            if sides:
                found.append(Question(anchor=anchor, run=run, scenario=scenario, sides=sides, caveats=about))
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
    panel = _panel(analysis, (run, scenario), emulated, {metric.name: found for metric, found in tables.items()})
    panel = replace(panel, styles=styles)
    leading = headline(scenario, analysis.comparisons.made) or (scenario.metrics[0].name,)
    yield Side(
        emulated=emulated,
        charts=tuple(_charts(panel, tables, leading, run.config.reference)),
        tables=tables,
        unmeasured=unmeasured([row for found in tables.values() for row in found if not row.absent]),
    )


def _panel(
    analysis: Analysis, where: tuple[Run, ScenarioFacts], emulated: bool, rows: Mapping[str, tuple[Row, ...]]
) -> Panel:
    run, scenario = where
    lost = analysis.lost
    here = (lost["run"] == run.id) & (lost["scenario"] == scenario.name) & (lost["emulated"] == emulated)
    return Panel(rows=rows, points=analysis.points, metrics=analysis.tidy.metrics, lost=lost[here])


def _charts(
    panel: Panel, tables: Mapping[Metric, tuple[Row, ...]], leading: tuple[str, ...], reference: str
) -> Iterator[Chart]:
    parts = [name for name in panel.rows if PHASE in name]
    owners = [(name, label) for name, label in OWNERS if name in panel.rows]
    exact = [m.name for m in tables if m.kind is Kind.EXACT and m.better is not Better.NEITHER]
    sampled = [m.name for m in tables if m.kind is Kind.SAMPLED and m.name not in parts]
    compared = [m for m in (*leading, *sampled, *exact) if m in panel.rows and _directed(panel, m)]
    title = f"Ratio to {reference}; within the grey margin nothing counts"
    ratios = forest([row for name in dict.fromkeys(compared) for row in panel.drawn(name)], panel.styles, title)
    if ratios:
        yield ratios
    yield from _points(panel, [m for m in sampled if m in leading], [m for m in sampled if m not in leading])
    yield from _of_leading(panel, [name for name in leading if name in sampled], parts)
    if len(owners) > 1:
        yield charts.stack(_owned(panel), owners, "Who holds the memory: medians")
    if exact:
        yield charts.bars(panel, exact, "Exact sizes")


def _points(panel: Panel, leading: Sequence[str], others: Sequence[str]) -> Iterator[Chart]:
    """Those of the headline at once, those of other metrics when asked for: fourteen rows of axes hide the first."""
    title = "Every measurement, over its quartiles; in front the median with its 95 % interval"
    if leading or others:
        yield charts.strip(panel, leading or others, title)
    if leading and others:
        yield replace(
            charts.strip(
                panel, others, f"Every measurement of {len(others)} more {'metric' if len(others) == 1 else 'metrics'}"
            ),
            folded=True,
        )


def _of_leading(panel: Panel, varying: Sequence[str], parts: Sequence[str]) -> Iterator[Chart]:
    """How the headline is spread, what it is made of, and whether it drifted."""
    if varying and parts and panel.metrics[varying[0]].unit is Unit.SECONDS:
        yield charts.ecdf(panel, varying[0], f"{varying[0]}: share of trials done by then")
    if parts:
        layers = [(name, name.split(PHASE)[1]) for name in parts]
        yield charts.stack(panel, layers, "Where the time goes: median phases")
    if varying:
        yield progression(panel, varying[0], f"{varying[0]} in the order of measurement")


def _directed(panel: Panel, name: str) -> bool:
    return panel.metrics[name].better is not Better.NEITHER


def _owned(panel: Panel) -> Panel:
    """Without the total of those boxes that are split into guest and monitor."""
    split = {row.box for row in panel.drawn("memory.vmm")}
    kept = {
        name: [row for row in found if name != "memory.pss" or row.box not in split]
        for name, found in panel.rows.items()
    }
    return replace(panel, rows=kept)

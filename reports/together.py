"""Several runs on one page: the same number of each, side by side. What they differ in stands among the doubts."""

from __future__ import annotations

from dataclasses import dataclass

from harness.model import Metric
from reports import units
from reports.analysis import Analysis
from reports.answers import headline
from reports.tables import Row, rows
from reports.tidy import runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One metric of one box in all runs: its row in each, None where it was not measured."""

    metric: Metric
    box: str
    runtime: str
    emulated: bool
    rows: tuple[Row | None, ...]


def beside(analysis: Analysis) -> tuple[Beside, ...]:
    """The headline of every scenario, boxes in the order of the first run that had them; only for several runs."""
    runs = analysis.tidy.runs
    if len(runs) < 2:
        return ()
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for run in runs:
        for scenario in run.scenarios:
            names = headline(scenario, analysis.comparisons.made)
            for metric in scenario.metrics:
                for row in rows(analysis, run, scenario, metric) if metric.name in names else ():
                    if row.summary:
                        found.setdefault((metric.name, row.box), {})[run.id] = row
    order = {name: place for place, name in enumerate(n for run in runs for n in runtimes(run))}
    lines = sorted(found.items(), key=lambda item: item[0][0])
    made = [_beside(key[1], by_run, [run.id for run in runs]) for key, by_run in lines]
    return tuple(sorted(made, key=lambda one: (one.emulated, one.metric.name, order.get(one.runtime, len(order)))))


def _beside(box: str, by_run: dict[str, Row], runs: list[str]) -> Beside:
    first = next(iter(by_run.values()))
    rows_ = tuple(by_run.get(run) for run in runs)
    return Beside(metric=first.metric, box=box, runtime=first.runtime, emulated=first.emulated, rows=rows_)


def shown(row: Row | None) -> str:
    """`4.2 ms · 1.8× (1.7–1.9×)`: the value, and the ratio that survives a change of host."""
    if row is None:
        return units.NOTHING
    ratio = f" · {row.ratio}" if row.ratio else ""
    return row.median + ratio + (f" ({row.ratio_interval})" if row.ratio_interval else "")

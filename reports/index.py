"""One page over all runs: which there are, and how each headline went from run to run.

A history is no comparison. Runs on other hosts, images or definitions stand in the same chart because that is where a
change is seen; every step where the host or the image changed is marked, and the doubts above say what differs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.model import Better, Metric, Outcome, Results
from reports import page, tidy, units
from reports.caveats import Caveat, several_runs
from reports.histories import Point, chart
from reports.marks import Chart
from reports.palette import styles
from reports.summary import Summary, summarise
from reports.tidy import Tidy

HEADLINES = 1
"""Metrics of each scenario that are followed: the first that has a direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A run in a row of the list."""

    id: str
    began: str
    suite: str
    image: str
    host: str
    blocks: int
    ok: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One metric over all runs: a chart for hardware, one for emulation, and the numbers behind them."""

    metric: Metric
    anchor: str
    charts: tuple[Chart, ...]
    boxes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The page of `tare report --index`."""

    name: str = "index"
    suffix: str = ".html"

    def render(self, results: Sequence[Results]) -> str:
        ordered = sorted(results, key=lambda one: (one.run.started_at, one.run.id))
        data = tidy.read(ordered)
        return page.render(
            "index.html",
            {
                "version": data.runs[-1].version,
                "lines": [_line(one) for one in ordered],
                "histories": list(histories(data, summarise(data))),
                "caveats": _changes(data),
            },
        )


def _line(results: Results) -> Line:
    run = results.run
    trials = [trial for trial in results.trials if not trial.step.warmup]
    ran = [trial for trial in trials if trial.outcome is not Outcome.SKIPPED]
    good = sum(trial.outcome is Outcome.OK for trial in ran)
    return Line(
        id=run.id,
        began=run.started_at[:16].replace("T", " "),
        suite=run.config.suite,
        image=run.config.image,
        host=f"{run.host.get('cpu_model', 'unknown CPU')}, Linux {run.host.get('kernel', 'unknown')}",
        blocks=len({trial.step.block for trial in ran}),
        ok=good,
        lost=len(ran) - good,
    )


def _changes(data: Tidy) -> list[Caveat]:
    """What differs from one run to the next: that is where a step in a history comes from."""
    pairs = zip(data.runs, data.runs[1:], strict=False)
    return [caveat for before, after in pairs for caveat in several_runs(replace(data, runs=(before, after)))]


def histories(data: Tidy, summaries: Sequence[Summary]) -> Iterator[History]:
    """The headline of every scenario that any run had, in the order they first came."""
    looks = styles(data.runs)
    for name in dict.fromkeys(n for run in data.runs for s in run.scenarios for n in _headlines(s.metrics, summaries)):
        metric = data.metrics[name]
        points = [_point(data, s) for s in summaries if s.series.metric == name]
        boxes = tuple(dict.fromkeys(point.box for point in points))
        shown = {(point.run, point.box): point for point in points}
        yield History(
            metric=metric,
            anchor=page.anchor(name),
            charts=tuple(
                chart(data, metric, chosen, looks)
                for slow in (False, True)
                if (chosen := [point for point in points if point.emulated is slow])
            ),
            boxes=boxes,
            rows=tuple((run.id, tuple(_cell(shown.get((run.id, box)), metric) for box in boxes)) for run in data.runs),
        )


def _headlines(metrics: Sequence[Metric], summaries: Sequence[Summary]) -> list[str]:
    measured = {summary.series.metric for summary in summaries}
    return [m.name for m in metrics if m.better is not Better.NEITHER and m.name in measured][:HEADLINES]


def _point(data: Tidy, summary: Summary) -> Point:
    series = summary.series
    where = data.where(series.scenario, series.params, series.labels)
    box = f"{units.box(series.runtime, emulated=summary.emulated)} {where}".rstrip()
    numbers = (summary.median, summary.low, summary.high)
    return Point(run=series.run, runtime=series.runtime, box=box, emulated=summary.emulated, numbers=numbers)


def _cell(point: Point | None, metric: Metric) -> tuple[str, str]:
    """The number to sort by and the words to show."""
    if point is None:
        return "", units.NOTHING
    median, low, high = point.numbers
    span = "" if math.isnan(low) else f" ({units.interval(low, high, metric.unit)})"
    return repr(median), f"{units.value(median, metric.unit)}{span}"


index = IndexReport()

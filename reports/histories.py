"""The picture of a history: medians with their intervals, run by run, a line a box."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from harness.model import Metric, Run
from reports import axes, marks, units
from reports.differences import differing
from reports.marks import Chart, Part
from reports.palette import Style
from reports.tidy import Tidy

MOST_DATES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A box's median in one run; `numbers` are it and the ends of its interval, NaN where there is none."""

    run: str
    runtime: str
    box: str
    emulated: bool
    numbers: tuple[float, float, float]


def chart(data: Tidy, metric: Metric, points: Sequence[Point], styles: Mapping[str, Style]) -> Chart:
    """Runs along the bottom, oldest first; a dashed line wherever the host or the image changed before a run."""
    axis = axes.choose([number for point in points for number in point.numbers if not math.isnan(number)], metric.unit)
    places = {run.id: place for place, run in enumerate(data.runs)}
    boxes = dict.fromkeys(point.box for point in points)
    traces = [_line([p for p in points if p.box == box], places, metric, axis, styles) for box in boxes]
    layout = {
        "legend": marks.LEGEND,
        "xaxis": {
            **_dates(data.runs),
            "range": [-0.5, len(places) - 0.5],
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": axis.layout,
        "shapes": [_change(place) for place in _changed(data.runs)],
    }
    shown = (f"{p.box} {units.value(p.numbers[0], metric.unit)} in {p.run}" for p in points)
    slow = "; emulation" if points[0].emulated else ""
    return marks.finish(traces, layout, f"{metric.name}, run by run{slow}", "; ".join(shown), 300)


def _dates(runs: Sequence[Run]) -> Part:
    """Of as many runs as have room; with the time where two runs are of one day."""
    days = [run.started_at[:10] for run in runs]
    words = days if len(set(days)) == len(days) else [run.started_at[5:16].replace("T", " ") for run in runs]
    places = range(0, len(runs), len(runs) // MOST_DATES + 1)
    return {"tickvals": list(places), "ticktext": [escape(words[place]) for place in places], "tickangle": 0}


def _line(
    points: Sequence[Point], places: Mapping[str, int], metric: Metric, axis: axes.Axis, styles: Mapping[str, Style]
) -> Part:
    style = styles[points[0].runtime]
    ends = [(high - middle, middle - low) if low < high else (0.0, 0.0) for middle, low, high in map(_of, points)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(points[0].box),
        "meta": {"key": f"{points[0].runtime}|"},
        "x": [places[point.run] for point in points],
        "y": [axis.scaled(point.numbers[0]) for point in points],
        "line": {"color": style.colour, "width": 1},
        "marker": {"color": style.colour, "symbol": style.symbol, "size": 9},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [axis.scaled(up) for up, _ in ends],
            "arrayminus": [axis.scaled(down) for _, down in ends],
            "color": style.colour,
            "thickness": 2,
        },
        "hovertext": [escape(f"{p.run}, {p.box}: {units.value(p.numbers[0], metric.unit)}") for p in points],
        "hoverinfo": "text",
    }


def _of(point: Point) -> tuple[float, float, float]:
    return point.numbers


def _changed(runs: Sequence[Run]) -> list[int]:
    return [place for place in range(1, len(runs)) if differing(runs[place - 1], runs[place])]


def _change(place: int) -> Part:
    line = {"color": "#7a7f87", "width": 1, "dash": "dash"}
    return {"type": "line", "x0": place - 0.5, "x1": place - 0.5, "y0": 0, "y1": 1, "yref": "paper", "line": line}

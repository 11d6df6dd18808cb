"""What every chart is made of: a panel of rows, their points, medians and labels, and the frame around them.

A figure is plain data, a dict in plotly's own schema, and leaves here as JSON. The graph objects of plotly's Python
library would check it a second time for a second of every report; the tests let them do that instead. The ground is
transparent and the text takes the page's colours, in light and in dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import msgspec
import pandas as pd

from harness.model import Metric
from reports import axes, units
from reports.palette import Style
from reports.tables import Row

Part = dict[str, Any]
"""A trace, an axis or a layout."""

ROW_PX = 34
TITLE_PX = 68
"""From one row of axes to the next: tick labels of the one, title of the other."""
BOTTOM_PX = 44
JITTER = 0.27
GOLDEN = (math.sqrt(5) - 1) / 2
BAND = "rgba(127,127,127,0.22)"
GRID = "rgba(127,127,127,0.28)"
PATTERNS = ("", "/", ".", "x", "-", "+", "|", "\\")
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "traceorder": "normal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure as JSON, its caption and what a screen reader says instead."""

    title: str
    alt: str
    json: str
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The rows one set of charts may draw: of one question of one run, emulated or not."""

    rows: Mapping[str, Sequence[Row]]
    points: pd.DataFrame
    styles: Mapping[str, Style]
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def drawn(self, metric: str) -> list[Row]:
        return [row for row in self.rows.get(metric, ()) if row.summary is not None]


def grid(panel: Panel, names: Sequence[str], sides: Mapping[str, Part]) -> tuple[Part, int]:
    """A layout with one row of axes per metric, each as high as its boxes need; and the height in pixels.

    `sides` holds each metric's horizontal axis.
    """
    heights = [ROW_PX * len(panel.drawn(name)) for name in names]
    inner = sum(heights) + TITLE_PX * (len(names) - 1)
    layout: Part = {"annotations": [], "margin": {"l": 8, "r": 20, "t": 30, "b": BOTTOM_PX}}
    top = float(inner)
    for place, (name, height) in enumerate(zip(names, heights, strict=True)):
        number = "" if place == 0 else str(place + 1)
        upper, lower = top / inner, max(0.0, (top - height) / inner)
        layout[f"xaxis{number}"] = {**sides[name], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {**_boxes(panel.drawn(name)), "domain": [lower, upper], "anchor": f"x{number}"}
        layout["annotations"].append(_heading(name, upper))
        top -= height + TITLE_PX
    return layout, inner + BOTTOM_PX + 30


def on(place: int) -> Part:
    """The axes of a trace in the given row of a grid."""
    number = "" if place == 0 else str(place + 1)
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


def ticks(labels: Sequence[str]) -> Part:
    """A vertical axis with a label a row, the first on top."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": [escape(label) for label in labels],
        "ticklabelstandoff": 6,
        "range": [len(labels) - 0.45, -0.55],
        "showgrid": False,
        "zeroline": False,
    }


def values(panel: Panel, row: Row) -> pd.DataFrame:
    """The samples behind a row."""
    assert row.summary is not None
    series, points = row.summary.series, panel.points
    return points[
        (points["metric"] == series.metric)
        & (points["runtime"] == series.runtime)
        & (points["params"] == series.params)
        & (points["labels"] == series.labels)
    ]


def said(row: Row, frame: pd.DataFrame) -> list[str]:
    """What hovering over each point says. Plotly reads tags and entities in such texts, so ours are escaped."""
    known = zip(frame["value"], frame["block"], frame["taints"], strict=True)
    lines = [
        (row.box, f"{units.value(value, row.metric.unit)}, block {block}", taints) for value, block, taints in known
    ]
    return ["<br>".join(escape(line) for line in one if line) for one in lines]


def points(panel: Panel, row: Row, frame: pd.DataFrame, y: int, axis: axes.Axis) -> Part:
    """Every value of a box, spread about its row; a cross where evidence taints it."""
    # Multiples of the golden ratio spread any number of points evenly, and the same way every time.
    spread = [((place * GOLDEN) % 1 - 0.5) * 2 * JITTER for place in range(len(frame))]
    marker = {
        "color": panel.styles[row.runtime].colour,
        "symbol": ["x" if taints else "circle" for taints in frame["taints"]],
        "size": 7,
        "opacity": 0.5,
    }
    xs = [axis.scaled(value) for value in frame["value"]]
    return _scatter(xs, [round(y + shift, 3) for shift in spread], said(row, frame), marker)


def median(panel: Panel, row: Row, y: int, axis: axes.Axis) -> Part:
    assert row.summary is not None
    s = row.summary
    numbers = (axis.scaled(s.median), axis.scaled(s.low), axis.scaled(s.high))
    return dot(panel.styles[row.runtime], y, numbers, f"{row.box}: median {row.median} ({row.interval})")


def dot(style: Style, y: int, numbers: tuple[float, float, float], words: str) -> Part:
    """A value with its interval; without one where the interval does not exist."""
    middle, low, high = numbers
    marker = {"color": style.colour, "symbol": style.symbol, "size": 11, "line": {"color": "#fff", "width": 1}}
    trace = _scatter([axes.short(middle)], [y], [escape(words)], marker)
    if low < high:  # neither for NaN nor for a single value
        ends = {"array": [axes.short(high - middle)], "arrayminus": [axes.short(middle - low)]}
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            **ends,
            "color": style.colour,
            "thickness": 3,
            "width": 7,
        }
    return trace


def medians_said(panel: Panel, names: Sequence[str]) -> str:
    parts = [f"{name}: {', '.join(f'{row.box} {row.median}' for row in panel.drawn(name))}" for name in names]
    return "; ".join(parts)


def ratio_said(row: Row) -> str:
    return " ".join(f"{row.box} {row.metric.name} {row.ratio} ({row.ratio_interval}) {row.verdict}".split())


def finish(traces: Sequence[Part], layout: Part, title: str, alt: str, height: int) -> Chart:
    """The figure with what all have in common."""
    legend = {"showlegend": True, "legend": LEGEND} if "legend" in layout else {"showlegend": False}
    complete = {
        "margin": {"l": 8, "r": 20, "t": 34 if "legend" in layout else 8, "b": BOTTOM_PX},
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "dragmode": False,
        "height": height,
        **layout,
        **legend,
    }
    for name, part in complete.items():
        if name.startswith(("xaxis", "yaxis")) and isinstance(part, dict):
            complete[name] = {"gridcolor": GRID, "automargin": True, **part}
    figure = msgspec.json.encode({"data": list(traces), "layout": complete}).decode()
    return Chart(title=title, alt=f"{title}. {alt}.", json=figure, height=height)


def _boxes(rows: Sequence[Row]) -> Part:
    return ticks([row.box if "/" not in row.n else f"{row.box}, {row.n} ok" for row in rows])


def _heading(text: str, y: float) -> Part:
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": y, "yref": "paper", "yanchor": "bottom"}
    return {"text": escape(text), "showarrow": False, "font": {"size": 13}, **place}


def _scatter(xs: Sequence[float], ys: Sequence[float], words: Sequence[str], marker: Part) -> Part:
    texts = {"hovertext": list(words), "hoverinfo": "text"}
    return {"type": "scatter", "mode": "markers", "x": list(xs), "y": list(ys), "marker": marker, **texts}

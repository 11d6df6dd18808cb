"""What every chart is made of: a panel of rows, their points, medians and labels, and the frame around them.

A figure is plain data, a dict in plotly's own schema, and leaves here as JSON. The graph objects of plotly's Python
library would check it a second time for a second of every report; the tests let them do that instead. The ground is
transparent and the text takes the page's colours, in light and in dark.

Two things are left to the page's script, for the sake of size and of its filter. Under `meta`, a trace says whose it is
and, where it holds many points, in which row: the script spreads them about it. A vertical axis that has a row a box
says whose each row is: the script closes the gap when one is filtered out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from harness.model import Metric
from reports import axes
from reports.analysis import Points
from reports.palette import Style
from reports.summary import SMALLEST_N, Series
from reports.tables import Row

Part = dict[str, Any]
"""A trace, an axis or a layout."""

ROW_PX = 34
TITLE_PX = 68
"""From one row of axes to the next: tick labels of the one, title of the other."""
BOTTOM_PX = 44
BAND = "rgba(127,127,127,0.22)"
GRID = "rgba(127,127,127,0.28)"
LOST = "#c4442c"
PATTERNS = ("", "/", ".", "x", "-", "+", "|", "\\")
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "traceorder": "normal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure as JSON, its caption and what a screen reader says instead; `folded` where only some will look."""

    title: str
    alt: str
    json: str
    height: int
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows one set of charts may draw, of one question of one run, emulated or not; `lost` has its bad trials."""

    rows: Mapping[str, Sequence[Row]]
    points: Mapping[Series, Points]
    styles: Mapping[str, Style] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    lost: pd.DataFrame = field(default_factory=pd.DataFrame)

    def drawn(self, metric: str) -> list[Row]:
        return [row for row in self.rows.get(metric, ()) if row.summary is not None]

    def seen(self, metric: str) -> list[Row]:
        """Also the boxes of which every trial went wrong: they are in the picture, without a point."""
        return [row for row in self.rows.get(metric, ()) if row.summary or row.lost]


def grid(panel: Panel, names: Sequence[str], sides: Mapping[str, Part]) -> tuple[Part, int]:
    """A layout with one row of axes per metric, each as high as its boxes need; and the height in pixels.

    `sides` holds each metric's horizontal axis.
    """
    heights = [ROW_PX * len(panel.seen(name)) for name in names]
    inner = sum(heights) + TITLE_PX * (len(names) - 1)
    layout: Part = {"annotations": [], "margin": {"l": 8, "r": 20, "t": 30, "b": BOTTOM_PX}, "meta": {"rows": {}}}
    top = float(inner)
    for place, (name, height) in enumerate(zip(names, heights, strict=True)):
        number = "" if place == 0 else str(place + 1)
        upper, lower = top / inner, max(0.0, (top - height) / inner)
        drawn = panel.seen(name)
        layout[f"xaxis{number}"] = {**sides[name], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {
            **ticks(drawn_labels(drawn)),
            "domain": [lower, upper],
            "anchor": f"x{number}",
        }
        layout["meta"]["rows"][f"yaxis{number}"] = [row.key for row in drawn]
        layout["annotations"].append(_heading(name, upper))
        top -= height + TITLE_PX
    return layout, inner + BOTTOM_PX + 30


def on(place: int) -> Part:
    """The axes of a trace in the given row of a grid."""
    number = "" if place == 0 else str(place + 1)
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


def drawn_labels(rows: Sequence[Row]) -> list[str]:
    """A box by its name, with how many of its trials gave no value: no number can place them on the axis."""
    return [escape(f"{row.box}, {row.missing}" if row.missing else row.box) for row in rows]


def ticks(labels: Sequence[str]) -> Part:
    """A vertical axis with a label a row, the first on top. The labels are escaped."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": list(labels),
        "ticklabelstandoff": 6,
        "range": [len(labels) - 0.45, -0.55],
        "showgrid": False,
        "zeroline": False,
    }


def values(panel: Panel, row: Row) -> Points:
    """The samples behind a row."""
    assert row.summary is not None
    return panel.points[row.summary.series]


def template(row: Row, value: str) -> str:
    """What hovering over a point says. Plotly reads tags, entities and `%{…}` in such texts, so ours are escaped."""
    box = escape(row.box).replace("%{", "%&#123;")
    return f"{box}<br>{value}, block %{{customdata}}%{{text}}<extra></extra>"


def points(panel: Panel, row: Row, y: int, axis: axes.Axis) -> Part:
    """Every value of a box, to be spread about its row; a cross where evidence taints it."""
    found = values(panel, row)
    marker: Part = {"color": panel.styles[row.runtime].colour, "size": 7, "opacity": 0.5}
    trace: Part = {
        "type": "scatter",
        "mode": "markers",
        "meta": {"key": row.key, "row": y},
        "x": axis.all_scaled(found.values),
        "customdata": found.blocks.tolist(),
        "hovertemplate": template(row, f"%{{x:.4~g}} {axis.unit}".rstrip()),
    }
    if any(found.taints):
        marker["symbol"] = ["x" if taints else "circle" for taints in found.taints]
        trace["text"] = [f"<br>{escape(taints)}" if taints else "" for taints in found.taints]
    else:
        trace["hovertemplate"] = trace["hovertemplate"].replace("%{text}", "")
    return {**trace, "marker": marker}


def box(panel: Panel, row: Row, y: int, axis: axes.Axis) -> Part:
    """The middle half of the values, and how far the rest reaches; nothing where so few have no middle half."""
    measured = values(panel, row).values
    if len(measured) < SMALLEST_N:
        return {}
    found = np.quantile(measured, [0.0, 0.25, 0.5, 0.75, 1.0])
    low, first, middle, third, high = axis.all_scaled(found)
    colour = panel.styles[row.runtime].colour
    return {
        "type": "box",
        "orientation": "h",
        "meta": {"key": row.key},
        "y": [y],
        "lowerfence": [low],
        "q1": [first],
        "median": [middle],
        "q3": [third],
        "upperfence": [high],
        "width": 0.62,
        "line": {"color": colour, "width": 1},
        "fillcolor": "rgba(127,127,127,0.10)",
        "hoverinfo": "skip",
    }


def median(panel: Panel, row: Row, y: int, axis: axes.Axis) -> Part:
    assert row.summary is not None
    s = row.summary
    numbers = (axis.scaled(s.median), axis.scaled(s.low), axis.scaled(s.high))
    words = f"{row.box}: median {row.median} ({row.interval})"
    return dot(panel.styles[row.runtime], row.key, (y, *numbers), words)


def dot(style: Style, key: str, numbers: tuple[float, float, float, float], words: str) -> Part:
    """A value with its interval, in a row; without one where the interval does not exist."""
    y, middle, low, high = numbers
    trace: Part = {
        "type": "scatter",
        "mode": "markers",
        "meta": {"key": key},
        "x": [axes.short(middle)],
        "y": [y],
        "marker": {"color": style.colour, "symbol": style.symbol, "size": 11, "line": {"color": "#fff", "width": 1}},
        "hovertext": [escape(words)],
        "hoverinfo": "text",
    }
    if low < high:  # neither for NaN nor for a single value
        ends = {"array": [axes.short(high - middle)], "arrayminus": [axes.short(middle - low)]}
        look = {"color": style.colour, "thickness": 3, "width": 7}
        trace["error_x"] = {"type": "data", "symmetric": False, **ends, **look}
    return trace


def medians_said(panel: Panel, names: Sequence[str]) -> str:
    parts = [f"{name}: {', '.join(f'{row.box} {row.median}' for row in panel.drawn(name))}" for name in names]
    return "; ".join(parts)


def ratio_said(row: Row) -> str:
    span = f" ({row.ratio_interval})" if row.ratio_interval else ""
    return f"{row.box} {row.metric.name} {row.ratio}{span} {row.verdict}".rstrip()


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


def _heading(text: str, y: float) -> Part:
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": y, "yref": "paper", "yanchor": "bottom"}
    return {"text": escape(text), "showarrow": False, "font": {"size": 13}, **place}

"""What every chart is made of: a panel of rows, their points, medians and labels, and the frame around them.

A chart leaves here as JSON with a transparent ground: its text takes the page's colours, in light and in dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from harness.model import Metric
from reports import axes, units
from reports.palette import Style
from reports.tables import Row

ROW_PX = 34
TITLE_PX = 68
"""From one row of axes to the next: tick labels of the one, title of the other."""
EDGES_PX = 78
JITTER = 0.27
GOLDEN = (math.sqrt(5) - 1) / 2
BAND = "rgba(127,127,127,0.22)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure as JSON, its caption and what a screen reader says instead."""

    title: str
    alt: str
    json: str
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The rows one set of charts may draw: one metric each, of one question of one run, emulated or not."""

    rows: Mapping[str, Sequence[Row]]
    points: pd.DataFrame
    styles: Mapping[str, Style]
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def drawn(self, metric: str) -> list[Row]:
        return [row for row in self.rows.get(metric, ()) if row.summary is not None]


PATTERNS = ("", "/", ".", "x", "-", "+", "|", "\\")
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "traceorder": "normal"}


def grid(panel: Panel, names: Sequence[str]) -> go.Figure:
    """One row of axes per metric, each as high as its boxes need."""
    heights = [ROW_PX * len(panel.drawn(name)) for name in names]
    gap = 0.0 if len(names) < 2 else TITLE_PX / (height(panel, names) - EDGES_PX)
    figure = make_subplots(rows=len(names), cols=1, row_heights=heights, subplot_titles=names, vertical_spacing=gap)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    return figure


def height(panel: Panel, names: Sequence[str]) -> int:
    return EDGES_PX + ROW_PX * sum(len(panel.drawn(name)) for name in names) + TITLE_PX * (len(names) - 1)


def boxes(figure: go.Figure, rows: Sequence[Row], place: int) -> None:
    labels = [row.box if "/" not in row.n else f"{row.box}, {row.n} ok" for row in rows]
    ticks(figure, labels, {"row": place, "col": 1})


def ticks(figure: go.Figure, labels: Sequence[str], where: Mapping[str, int]) -> None:
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=[escape(label) for label in labels],
        ticklabelstandoff=6,
        range=[len(labels) - 0.45, -0.55],
        automargin=True,
        showgrid=False,
        zeroline=False,
        **where,
    )


def values(panel: Panel, row: Row) -> pd.DataFrame:
    assert row.summary is not None
    series, points = row.summary.series, panel.points
    return points[
        (points["runtime"] == series.runtime)
        & (points["params"] == series.params)
        & (points["metric"] == series.metric)
        & (points["labels"] == series.labels)
    ]


def said(row: Row, frame: pd.DataFrame) -> list[str]:
    """What hovering over each point says. Plotly reads tags and entities in such texts, so ours are escaped."""
    values = zip(frame["value"], frame["block"], frame["taints"], strict=True)
    lines = [
        (row.box, f"{units.value(value, row.metric.unit)}, block {block}", taints) for value, block, taints in values
    ]
    return ["<br>".join(escape(line) for line in one if line) for one in lines]


def points(panel: Panel, row: Row, frame: pd.DataFrame, y: int, axis: axes.Axis) -> go.Scatter:
    # Multiples of the golden ratio spread any number of points evenly, and the same way every time.
    spread = [((place * GOLDEN) % 1 - 0.5) * 2 * JITTER for place in range(len(frame))]
    return go.Scatter(
        x=[axis.scaled(value) for value in frame["value"]],
        y=[round(y + shift, 3) for shift in spread],
        mode="markers",
        marker={
            "color": panel.styles[row.runtime].colour,
            "symbol": ["x" if taints else "circle" for taints in frame["taints"]],
            "size": 7,
            "opacity": 0.5,
        },
        hovertext=said(row, frame),
        hoverinfo="text",
    )


def median(panel: Panel, row: Row, y: int, axis: axes.Axis) -> go.Scatter:
    assert row.summary is not None
    s = row.summary
    numbers = (axis.scaled(s.median), axis.scaled(s.low), axis.scaled(s.high))
    return dot(panel.styles[row.runtime], y, numbers, f"{row.box}: median {row.median} ({row.interval})")


def dot(style: Style, y: int, numbers: tuple[float, float, float], said: str) -> go.Scatter:
    """A value with its interval; without one where the interval does not exist."""
    middle, low, high = numbers
    return go.Scatter(
        x=[axes.short(middle)],
        y=[y],
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 11, "line": {"color": "#fff", "width": 1}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [axes.short(high - middle)],
            "arrayminus": [axes.short(middle - low)],
            "color": style.colour,
            "thickness": 3,
            "width": 7,
        }
        if low < high  # neither for NaN nor for a single value
        else None,
        hovertext=[said],
        hoverinfo="text",
    )


def medians_said(panel: Panel, names: Sequence[str]) -> str:
    said = [f"{name}: {', '.join(f'{row.box} {row.median}' for row in panel.drawn(name))}" for name in names]
    return "; ".join(said)


def ratio_said(row: Row) -> str:
    return " ".join(f"{row.box} {row.metric.name} {row.ratio} ({row.ratio_interval}) {row.verdict}".split())


def finish(figure: go.Figure, title: str, alt: str, height: int) -> Chart:
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 8, "r": 20, "t": 34, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        dragmode=False,
    )
    if figure.layout.showlegend is None:
        figure.update_layout(showlegend=False)
    grid = {"gridcolor": "rgba(127,127,127,0.28)", "automargin": True}
    figure.update_xaxes(grid).update_yaxes(grid)
    return Chart(title=title, alt=f"{title}. {alt}.", json=figure.to_json(), height=height)

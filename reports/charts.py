"""Pictures of one question: every point, the medians with their intervals, and ratios to the reference.

Emulated boxes are never drawn beside others: the caller asks for one panel or the other. Each chart carries a sentence
that says what it shows, for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from reports import axes, marks
from reports.marks import Chart, Panel
from reports.tables import Row


def strip(panel: Panel, names: Sequence[str], title: str) -> Chart:
    """Every point of every box, a row a box; over them the median and its 95 % interval."""
    figure = marks.grid(panel, names)
    for place, name in enumerate(names, 1):
        rows, metric = panel.drawn(name), panel.metrics[name]
        drawn = [marks.values(panel, row) for row in rows]
        axis = axes.choose([v for frame in drawn for v in frame["value"]], metric.unit)
        for y, (row, frame) in enumerate(zip(rows, drawn, strict=True)):
            figure.add_trace(marks.points(panel, row, frame, y, axis), row=place, col=1)
            figure.add_trace(marks.median(panel, row, y, axis), row=place, col=1)
        figure.update_xaxes(axis.layout, row=place, col=1)
        marks.boxes(figure, rows, place)
    return marks.finish(figure, title, marks.medians_said(panel, names), marks.height(panel, names))


def bars(panel: Panel, names: Sequence[str], title: str) -> Chart:
    """Sizes that do not vary: a bar a box from zero, with its value."""
    figure = marks.grid(panel, names)
    for place, name in enumerate(names, 1):
        rows, metric = panel.drawn(name), panel.metrics[name]
        values = [row.summary.median for row in rows if row.summary]
        axis = axes.choose([0.0, *values], metric.unit)
        figure.add_trace(
            go.Bar(
                x=[axis.scaled(v) for v in values],
                y=list(range(len(rows))),
                orientation="h",
                width=0.6,
                marker={"color": [panel.styles[row.runtime].colour for row in rows]},
                text=[row.median for row in rows],
                textposition="outside",
                cliponaxis=False,
                hovertext=[f"{row.box}: {row.median}" for row in rows],
                hoverinfo="text",
            ),
            row=place,
            col=1,
        )
        figure.update_xaxes({**axis.layout, "range": [0, 1.25 * max(map(axis.scaled, values)) or 1]}, row=place, col=1)
        marks.boxes(figure, rows, place)
    return marks.finish(figure, title, marks.medians_said(panel, names), marks.height(panel, names))


def stack(panel: Panel, layers: Sequence[tuple[str, str]], title: str) -> Chart:
    """Medians of parts on top of each other, a bar a box: the phases of a start, the owners of memory."""
    boxes = list(dict.fromkeys(row.box for name, _ in layers for row in panel.drawn(name)))
    values = [row.summary.median for name, _ in layers for row in panel.drawn(name) if row.summary]
    axis = axes.choose([0.0, *values], panel.metrics[layers[0][0]].unit)
    figure = go.Figure()
    for place, (name, label) in enumerate(layers):
        rows = panel.drawn(name)
        figure.add_trace(
            go.Bar(
                name=label,
                x=[axis.scaled(row.summary.median) for row in rows if row.summary],
                y=[boxes.index(row.box) for row in rows],
                orientation="h",
                width=0.62,
                marker={
                    "color": [panel.styles[row.runtime].colour for row in rows],
                    "pattern": {
                        "shape": marks.PATTERNS[place % len(marks.PATTERNS)],
                        "bgcolor": "rgba(127,127,127,0.22)",
                        "solidity": 0.45,
                        "size": 7,
                    },
                },
                hovertext=[f"{row.box}, {label}: {row.median}" for row in rows],
                hoverinfo="text",
            )
        )
    figure.update_layout(barmode="stack", showlegend=True, legend=marks.LEGEND, xaxis=axis.layout)
    marks.ticks(figure, boxes, {})
    said = [f"{row.box} {label} {row.median}" for name, label in layers for row in panel.drawn(name)]
    return marks.finish(figure, title, ", ".join(said), 96 + marks.ROW_PX * len(boxes))


def forest(panel: Panel, names: Sequence[str], title: str) -> Chart | None:
    """Ratios to the reference with their intervals; the grey band is the margin below which nothing counts."""
    rows = [
        row
        for name in names
        for row in panel.drawn(name)
        if row.comparison and row.comparison.effect.relative and row.comparison.effect.low > 0
    ]
    if not rows:
        return None
    figure = go.Figure()
    labels = _labels(rows)
    for y, row in enumerate(rows):
        assert row.comparison is not None
        effect, margin = row.comparison.effect, row.comparison.margin.size
        figure.add_shape(
            type="rect",
            x0=max(1 - margin, 1e-3),  # a logarithmic axis has no zero
            x1=1 + margin,
            y0=y - 0.42,
            y1=y + 0.42,
            fillcolor=marks.BAND,
            line_width=0,
            layer="below",
        )
        figure.add_trace(
            marks.dot(panel.styles[row.runtime], y, (effect.estimate, effect.low, effect.high), marks.ratio_said(row))
        )
    limits = [v for row in rows if row.comparison for v in (row.comparison.effect.low, row.comparison.effect.high)]
    figure.add_vline(x=1, line={"color": "#7a7f87", "width": 1})
    figure.update_layout(xaxis=axes.ratio(limits))
    marks.ticks(figure, labels, {})
    return marks.finish(figure, title, "; ".join(map(marks.ratio_said, rows)), 72 + 26 * len(rows))


def progression(panel: Panel, name: str, title: str) -> Chart:
    """Value by block, over each box's own median: drift and steps show as a slope that several boxes share."""
    figure = go.Figure()
    for row in panel.drawn(name):
        assert row.summary is not None
        frame = marks.values(panel, row)
        style = panel.styles[row.runtime]
        figure.add_trace(
            go.Scatter(
                x=[int(b) for b in frame["block"]],
                y=[axes.short(v / row.summary.median) if row.summary.median else 1.0 for v in frame["value"]],
                name=row.box,
                mode="lines+markers",
                line={"color": style.colour, "width": 1},
                marker={"color": style.colour, "symbol": style.symbol, "size": 7},
                hovertext=marks.said(row, frame),
                hoverinfo="text",
            )
        )
    step = max(1, math.ceil(panel.points["block"].max() / 12))
    figure.update_layout(
        showlegend=True,
        legend=marks.LEGEND,
        xaxis={"title": {"text": "block", "font": {"size": 12}}, "dtick": step},
        yaxis={"title": {"text": "over own median", "font": {"size": 12}}, "ticksuffix": "×", "automargin": True},
    )
    return marks.finish(figure, title, f"{name} of each box by block, over its own median", 280)


def _labels(rows: Sequence[Row]) -> list[str]:
    """What tells the rows apart, and no more: a phone has little room beside a chart."""
    one_box = len({row.box for row in rows}) == 1
    one_metric = len({row.metric.name for row in rows}) == 1
    parts = [("" if one_box else row.box, "" if one_metric and not one_box else row.metric.name) for row in rows]
    return [" · ".join(part for part in pair if part) for pair in parts]

"""Values in the order they were measured: drift and steps show as a slope that several boxes share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reports import axes, marks
from reports.marks import Chart, Panel, Part
from reports.tables import Row

SMALL = {"size": 12}
MOST_LINES = 60
"""With more blocks than this, only every n-th border is drawn."""


def progression(panel: Panel, name: str, title: str) -> Chart:
    """Value over the box's own median, by number of trial; crosses where tainted, red ones below for lost trials."""
    rows = panel.drawn(name)
    traces = [_line(panel, row) for row in rows]
    reached = [1 - axes.NARROW / 2, 1 + axes.NARROW / 2, *(y for trace in traces for y in trace["y"])]
    room = 0.06 * (max(reached) - min(reached))
    low, high = axes.short(min(reached) - room), axes.short(max(reached) + room)
    traces += _lost(panel, rows, low)
    layout = {
        "legend": marks.LEGEND,
        "xaxis": {"title": {"text": "trial, with a line at each block", "font": SMALL}, "showgrid": False},
        "yaxis": {"title": {"text": "over own median", "font": SMALL}, "ticksuffix": "×", "range": [low, high]},
        "shapes": [_border(x) for x in _borders(panel)],
    }
    said = f"{name} of each box in the order of measurement, over its own median"
    return marks.finish(traces, layout, title, said, 300)


def _line(panel: Panel, row: Row) -> Part:
    assert row.summary is not None
    found, style, middle = marks.values(panel, row), panel.styles[row.runtime], row.summary.median
    marker: Part = {"color": style.colour, "symbol": style.symbol, "size": 7}
    if any(found.taints):
        marker["symbol"] = ["x" if taints else style.symbol for taints in found.taints]
    trace: Part = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(row.box),
        "meta": {"key": row.key},
        "x": found.indices.tolist(),
        "y": [axes.short(value / middle) if middle else 1.0 for value in found.values.tolist()],
        "line": {"color": style.colour, "width": 1},
        "marker": marker,
        "customdata": found.blocks.tolist(),
        "hovertemplate": marks.template(row, "%{y:.3f}"),
        "text": [f"<br>{escape(taints)}" if taints else "" for taints in found.taints],
    }
    if not any(found.taints):
        trace["hovertemplate"] = trace["hovertemplate"].replace("%{text}", "")
        del trace["text"]
    return trace


def _lost(panel: Panel, rows: Sequence[Row], y: float) -> list[Part]:
    """Where a value is missing because its trial went wrong."""
    if panel.lost.empty:
        return []
    found = []
    boxes = {row.runtime: row.box for row in rows}
    for runtime, group in panel.lost.groupby("runtime", sort=False):
        words = [
            f"{runtime}, {outcome}: {reason}" for outcome, reason in zip(group["outcome"], group["reason"], strict=True)
        ]
        found.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{escape(boxes.get(str(runtime), str(runtime)))}: lost",
                "meta": {"key": f"{runtime}|"},
                "x": group["index"].tolist(),
                "y": [y] * len(group),
                "marker": {"color": marks.LOST, "symbol": "x-thin-open", "size": 10, "line": {"width": 2}},
                "hovertext": [escape(" ".join(text.split()))[:300] for text in words],
                "hoverinfo": "text",
                "cliponaxis": False,
            }
        )
    return found


def _borders(panel: Panel) -> list[float]:
    """Half a step before the first trial of each block but the first."""
    found: dict[int, int] = {}
    for row in (row for name in panel.rows for row in panel.drawn(name)):
        points = marks.values(panel, row)
        for block, index in zip(points.blocks.tolist(), points.indices.tolist(), strict=True):
            found[block] = min(index, found.get(block, index))
    firsts = sorted(found.values())[1:]
    step = max(1, len(firsts) // MOST_LINES + 1)
    return [float(first) - 0.5 for first in firsts[::step]]


def _border(x: float) -> Part:
    line = {"color": marks.GRID, "width": 1}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}

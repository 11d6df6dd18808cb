"""Pictures of one question: every point, the medians with their intervals, and ratios to the reference.

Emulated boxes are never drawn beside others: the caller asks for one panel or the other. Each chart carries a sentence
that says what it shows, for those who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports import axes, marks
from reports.marks import Chart, Panel, Part
from reports.tables import Row
from reports.verdicts import Effect

SMALL = {"size": 12}


def strip(panel: Panel, names: Sequence[str], title: str) -> Chart:
    """Every point of every box, a row a box; over them the median and its 95 % interval."""
    traces: list[Part] = []
    sides: dict[str, Part] = {}
    for place, name in enumerate(names):
        drawn = [(row, marks.values(panel, row)) for row in panel.drawn(name)]
        axis = axes.choose([v for _, frame in drawn for v in frame["value"]], panel.metrics[name].unit)
        sides[name] = axis.layout
        for y, (row, frame) in enumerate(drawn):
            traces.append({**marks.points(panel, row, frame, y, axis), **marks.on(place)})
            traces.append({**marks.median(panel, row, y, axis), **marks.on(place)})
    layout, height = marks.grid(panel, names, sides)
    return marks.finish(traces, layout, title, marks.medians_said(panel, names), height)


def bars(panel: Panel, names: Sequence[str], title: str) -> Chart:
    """Sizes that do not vary: a bar a box from zero, with its value."""
    traces: list[Part] = []
    sides: dict[str, Part] = {}
    for place, name in enumerate(names):
        rows = panel.drawn(name)
        values = [row.summary.median for row in rows if row.summary]
        axis = axes.choose([0.0, *values], panel.metrics[name].unit)
        # Room for the value's text beyond the longest bar.
        sides[name] = {**axis.layout, "range": [0, 1.3 * axis.scaled(max(values)) or 1]}
        bar = _bar(panel, rows, [axis.scaled(v) for v in values], list(range(len(rows))), [row.median for row in rows])
        traces.append({**bar, **marks.on(place), "textposition": "outside", "cliponaxis": False})
    layout, height = marks.grid(panel, names, sides)
    return marks.finish(traces, layout, title, marks.medians_said(panel, names), height)


def stack(panel: Panel, layers: Sequence[tuple[str, str]], title: str) -> Chart:
    """Medians of parts on top of each other, a bar a box: the phases of a start, the owners of memory."""
    rows = {name: panel.drawn(name) for name, _ in layers}
    boxes = list(dict.fromkeys(row.box for found in rows.values() for row in found))
    medians = {name: [row.summary.median for row in found if row.summary] for name, found in rows.items()}
    totals = [sum(m for n in rows for r, m in zip(rows[n], medians[n], strict=True) if r.box == box) for box in boxes]
    axis = axes.choose([0.0, *totals], panel.metrics[layers[0][0]].unit)
    traces = []
    for place, (name, label) in enumerate(layers):
        xs = [axis.scaled(value) for value in medians[name]]
        bar = _bar(panel, rows[name], xs, [boxes.index(row.box) for row in rows[name]], [])
        pattern = {"shape": marks.PATTERNS[place % len(marks.PATTERNS)], "bgcolor": marks.BAND, "solidity": 0.45}
        bar["marker"] = {**bar["marker"], "pattern": {**pattern, "size": 7}}
        traces.append({**bar, "name": label, "hovertext": [f"{row.box}, {label}: {row.median}" for row in rows[name]]})
    layout = {"barmode": "stack", "legend": marks.LEGEND, "xaxis": axis.layout, "yaxis": marks.ticks(boxes)}
    alt = ", ".join(f"{row.box} {label} {row.median}" for name, label in layers for row in rows[name])
    return marks.finish(traces, layout, title, alt, 96 + marks.ROW_PX * len(boxes))


def forest(panel: Panel, names: Sequence[str], title: str) -> Chart | None:
    """Ratios to the reference with their intervals; the grey band is the margin below which nothing counts."""
    rows = [(row, effect) for name in names for row in panel.drawn(name) if (effect := _ratio(row))]
    if not rows:
        return None
    traces, bands = [], []
    for y, (row, effect) in enumerate(rows):
        assert row.comparison is not None
        margin = row.comparison.margin.size
        # A logarithmic axis has no zero to draw a margin of a hundred per cent to.
        band = {"x0": max(1 - margin, 1e-3), "x1": 1 + margin, "y0": y - 0.42, "y1": y + 0.42}
        bands.append({"type": "rect", **band, "fillcolor": marks.BAND, "line": {"width": 0}, "layer": "below"})
        numbers = (effect.estimate, effect.low, effect.high)
        traces.append(marks.dot(panel.styles[row.runtime], y, numbers, marks.ratio_said(row)))
    one = {
        "type": "line",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "#7a7f87", "width": 1},
    }
    layout = {
        "shapes": [*bands, one],
        "xaxis": axes.ratio(
            [v for _, effect in rows for v in (effect.low, effect.estimate, effect.high) if not math.isnan(v)]
        ),
        "yaxis": marks.ticks(_labels([row for row, _ in rows])),
    }
    alt = "; ".join(marks.ratio_said(row) for row, _ in rows)
    return marks.finish(traces, layout, title, alt, 60 + 26 * len(rows))


def progression(panel: Panel, name: str, title: str) -> Chart:
    """Value by block, over each box's own median: drift and steps show as a slope that several boxes share."""
    traces = []
    reached = [1 - axes.NARROW / 2, 1 + axes.NARROW / 2]
    for row in panel.drawn(name):
        assert row.summary is not None
        frame, style = marks.values(panel, row), panel.styles[row.runtime]
        ys = [axes.short(v / row.summary.median) if row.summary.median else 1.0 for v in frame["value"]]
        reached += ys
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": row.box,
                "x": [int(block) for block in frame["block"]],
                "y": ys,
                "line": {"color": style.colour, "width": 1},
                "marker": {"color": style.colour, "symbol": style.symbol, "size": 7},
                "hovertext": marks.said(row, frame),
                "hoverinfo": "text",
            }
        )
    step = max(1, math.ceil(panel.points["block"].max() / 12))
    room = 0.05 * (max(reached) - min(reached))
    layout = {
        "legend": marks.LEGEND,
        "xaxis": {"title": {"text": "block", "font": SMALL}, "dtick": step},
        "yaxis": {
            "title": {"text": "over own median", "font": SMALL},
            "ticksuffix": "×",
            "range": [axes.short(min(reached) - room), axes.short(max(reached) + room)],
        },
    }
    return marks.finish(traces, layout, title, f"{name} of each box by block, over its own median", 280)


def _bar(panel: Panel, rows: Sequence[Row], xs: Sequence[float], ys: Sequence[int], texts: Sequence[str]) -> Part:
    return {
        "type": "bar",
        "orientation": "h",
        "x": list(xs),
        "y": list(ys),
        "width": 0.6,
        "marker": {"color": [panel.styles[row.runtime].colour for row in rows]},
        "text": list(texts),
        "hovertext": [f"{row.box}: {row.median}" for row in rows],
        "hoverinfo": "text",
    }


def _ratio(row: Row) -> Effect | None:
    """The effect a logarithmic axis can show."""
    effect = row.comparison.effect if row.comparison else None
    fits = effect and effect.relative and effect.estimate > 0 and effect.low != 0 and effect.high != math.inf
    return effect if fits else None


def _labels(rows: Sequence[Row]) -> list[str]:
    """What tells the rows apart, and no more: a phone has little room beside a chart."""
    one_box = len({row.box for row in rows}) == 1
    one_metric = len({row.metric.name for row in rows}) == 1
    parts = [("" if one_box else row.box, "" if one_metric and not one_box else row.metric.name) for row in rows]
    return [" · ".join(part for part in pair if part) for pair in parts]

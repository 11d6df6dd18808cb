"""Pictures of one question: every point, the medians with their intervals, and parts of a whole.

Emulated boxes are never drawn beside others: the caller asks for one panel or the other. Each chart carries a sentence
that says what it shows, for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reports import axes, marks
from reports.marks import Chart, Panel, Part
from reports.tables import Row


def strip(panel: Panel, names: Sequence[str], title: str) -> Chart:
    """Every point of every box, a row a box, over its quartiles; on top the median and its 95 % interval."""
    traces: list[Part] = []
    sides: dict[str, Part] = {}
    for place, name in enumerate(names):
        rows = panel.seen(name)
        drawn = [(y, row) for y, row in enumerate(rows) if row.summary]
        axis = axes.choose([end for _, row in drawn for end in _ends(panel, row)], panel.metrics[name].unit)
        sides[name] = axis.layout
        for y, row in drawn:
            made = (
                marks.box(panel, row, y, axis),
                marks.points(panel, row, y, axis),
                marks.median(panel, row, y, axis),
            )
            traces += [{**trace, **marks.on(place)} for trace in made if trace]
    layout, height = marks.grid(panel, names, sides)
    return marks.finish(traces, layout, title, marks.medians_said(panel, names), height)


def bars(panel: Panel, names: Sequence[str], title: str) -> Chart:
    """Sizes that do not vary: a bar a box from zero, with its value."""
    traces: list[Part] = []
    sides: dict[str, Part] = {}
    for place, name in enumerate(names):
        rows = panel.seen(name)
        drawn = [(y, row) for y, row in enumerate(rows) if row.summary]
        values = [row.summary.median for _, row in drawn if row.summary]
        axis = axes.choose([0.0, *values], panel.metrics[name].unit)
        # Room for the value's text beyond the longest bar.
        sides[name] = {**axis.layout, "range": [0, 1.3 * axis.scaled(max(values)) or 1]}
        bar = _bar(panel, [row for _, row in drawn], axis.all_scaled(values), [y for y, _ in drawn])
        bar["text"] = [row.median for _, row in drawn]
        traces.append({**bar, **marks.on(place), "textposition": "outside", "cliponaxis": False})
    layout, height = marks.grid(panel, names, sides)
    return marks.finish(traces, layout, title, marks.medians_said(panel, names), height)


def stack(panel: Panel, layers: Sequence[tuple[str, str]], title: str) -> Chart:
    """Medians of parts on top of each other, a bar a box: the phases of a start, the owners of memory."""
    rows = {name: panel.drawn(name) for name, _ in layers}
    boxes = {row.box: row.key for found in rows.values() for row in found}
    places = list(boxes)
    medians = {name: [row.summary.median for row in found if row.summary] for name, found in rows.items()}
    totals = [sum(m for n in rows for r, m in zip(rows[n], medians[n], strict=True) if r.box == box) for box in boxes]
    axis = axes.choose([0.0, *totals], panel.metrics[layers[0][0]].unit)
    traces = []
    for place, (name, label) in enumerate(layers):
        bar = _bar(panel, rows[name], axis.all_scaled(medians[name]), [places.index(row.box) for row in rows[name]])
        pattern = {"shape": marks.PATTERNS[place % len(marks.PATTERNS)], "bgcolor": marks.BAND, "solidity": 0.45}
        bar["marker"] = {**bar["marker"], "pattern": {**pattern, "size": 7}}
        words = [escape(f"{row.box}, {label}: {row.median}") for row in rows[name]]
        traces.append({**bar, "name": escape(label), "hovertext": words})
    layout = {
        "barmode": "stack",
        "legend": marks.LEGEND,
        "xaxis": axis.layout,
        "yaxis": marks.ticks([escape(box) for box in places]),
        "meta": {"rows": {"yaxis": list(boxes.values())}},
    }
    alt = ", ".join(f"{row.box} {label} {row.median}" for name, label in layers for row in rows[name])
    return marks.finish(traces, layout, title, alt, 96 + marks.ROW_PX * len(boxes))


def ecdf(panel: Panel, name: str, title: str) -> Chart:
    """The share of trials that were done by then. Lost trials are among all: such a curve never reaches one."""
    rows = panel.drawn(name)
    metric = panel.metrics[name]
    ends = [end for row in rows for end in _ends(panel, row)]
    axis = axes.choose(ends, metric.unit)
    traces, words = [], []
    for row in rows:
        assert row.summary is not None
        found = sorted(marks.values(panel, row).values.tolist())
        count = len(found) + row.summary.failures + row.summary.timeouts
        style = panel.styles[row.runtime]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": escape(row.box),
                "meta": {"key": row.key},
                "x": axis.all_scaled([found[0], *found]),
                "y": [axes.short(place / count) for place in range(len(found) + 1)],
                "line": {"color": style.colour, "width": 2, "shape": "hv"},
                "hovertemplate": f"%{{y:.0%}} within %{{x:.4~g}} {axis.unit}".rstrip() + "<extra></extra>",
            }
        )
        words.append(f"{row.box} half within {row.median}")
    layout = {
        "legend": marks.LEGEND,
        "xaxis": {**axis.layout, "range": axis.around(ends)},
        "yaxis": {"range": [0, 1.03], "tickformat": ".0%", "zeroline": False, "nticks": 5},
    }
    return marks.finish(traces, layout, title, "; ".join(words), 280)


def _ends(panel: Panel, row: Row) -> tuple[float, float]:
    found = marks.values(panel, row).values
    return float(found.min()), float(found.max())


def _bar(panel: Panel, rows: Sequence[Row], xs: Sequence[float], ys: Sequence[int]) -> Part:
    return {
        "type": "bar",
        "orientation": "h",
        "x": list(xs),
        "y": list(ys),
        "width": 0.6,
        "marker": {"color": [panel.styles[row.runtime].colour for row in rows]},
        "hovertext": [escape(f"{row.box}: {row.median}") for row in rows],
        "hoverinfo": "text",
    }

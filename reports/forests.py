"""Ratios to a reference with their intervals, one a row; the grey band is the margin within which nothing counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from reports import axes, marks
from reports.marks import Chart, Part
from reports.palette import Style
from reports.tables import Row, brief
from reports.verdicts import Effect

ROW_PX = 26


def forest(rows: Sequence[Row], styles: Mapping[str, Style], title: str) -> Chart | None:
    """None where no row has a ratio that a logarithmic axis can show."""
    drawn = [(row, effect) for row in rows if (effect := _ratio(row))]
    if not drawn:
        return None
    traces, bands = [], []
    for y, (row, effect) in enumerate(drawn):
        assert row.comparison is not None
        margin = row.comparison.margin.size
        # A logarithmic axis has no zero to draw a margin of a hundred per cent to.
        band = {"x0": max(1 - margin, 1e-3), "x1": 1 + margin, "y0": y - 0.42, "y1": y + 0.42}
        bands.append({"type": "rect", **band, "fillcolor": marks.BAND, "line": {"width": 0}, "layer": "below"})
        numbers = (y, effect.estimate, effect.low, effect.high)
        traces.append(marks.dot(styles[row.runtime], row.key, numbers, marks.ratio_said(row)))
    known = [v for _, effect in drawn for v in (effect.low, effect.estimate, effect.high) if not math.isnan(v)]
    kept = [row for row, _ in drawn]
    layout = {
        "shapes": [*bands, _one()],
        "xaxis": axes.ratio(known),
        "yaxis": marks.ticks([escape(label) for label in _labels(kept)]),
        "annotations": [_verdict(row, y) for y, row in enumerate(kept) if row.verdict],
        "margin": {"l": 8, "r": 130, "t": 8, "b": marks.BOTTOM_PX},
        "meta": {"rows": {"yaxis": [row.key for row in kept]}},
    }
    return marks.finish(traces, layout, title, "; ".join(map(marks.ratio_said, kept)), 60 + ROW_PX * len(kept))


def _one() -> Part:
    line = {"color": "#7a7f87", "width": 1}
    return {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _verdict(row: Row, y: int) -> Part:
    """The word beside the dot: where it lies says how much, this says whether that counts."""
    word = brief(row.comparison.verdict) if row.comparison else ""
    place = {"x": 1.01, "xref": "paper", "xanchor": "left", "y": y, "yref": "y"}
    return {"text": f"{row.mark} {word}".strip(), "showarrow": False, "font": {"size": 12}, **place}


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

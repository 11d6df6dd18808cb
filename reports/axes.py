"""Axes for people: one readable unit along an axis, logarithmic only where a linear one would hide the small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.model import Unit
from reports import units

WIDE = 20.0
"""From this ratio of largest to smallest on, an axis is logarithmic."""
NARROW = 0.2
"""An axis shows at least this share of its largest value: a spread of a thousandth should not look like a gulf."""
LOG = {"text": "log scale", "font": {"size": 12}, "standoff": 4}


@dataclass(frozen=True, slots=True)
class Axis:
    """What one unit of the axis is worth in base units, what it is called, and the axis as plotly wants it."""

    factor: float
    layout: dict[str, Any] = field(default_factory=dict)
    unit: str = ""

    def scaled(self, value: float) -> float:
        return short(value / self.factor)

    def all_scaled(self, values: Iterable[float]) -> list[float]:
        return [self.scaled(value) for value in values]

    def around(self, values: Sequence[float]) -> list[float]:
        """From the smallest to the largest with some room on either side, as plotly wants a range."""
        given = self.layout.get("range")
        if given:
            return list(given)
        ends = [self.scaled(end) for end in (min(values), max(values))]
        low, high = map(math.log10, ends) if self.layout.get("type") == "log" else ends
        room = 0.03 * (high - low) or 0.1
        return [short(low - room), short(high + room)]


def short(value: float) -> float:
    """Seven digits are more than a pixel can show, and half the bytes."""
    return float(f"{value:.7g}")


def choose(values: Sequence[float], unit: Unit) -> Axis:
    """A linear axis in the unit of its largest value, or a logarithmic one whose ticks carry their units."""
    smallest, largest = min(values, default=0.0), max(values, default=1.0)
    if smallest > 0 and largest / smallest > WIDE:
        # In the unit of the largest value too, so that what hovering says has a name; the ticks say their own.
        factor, name = units.scale(largest, unit)
        ticks = _decades(smallest, largest)
        words = {"tickvals": [short(t / factor) for t in ticks], "ticktext": [_tick(t, unit) for t in ticks]}
        return Axis(factor, {"type": "log", **words, "title": LOG}, name)
    factor, name = units.scale(largest, unit)
    layout: dict[str, Any] = {"ticksuffix": f" {name}".rstrip(), "nticks": 5, "zeroline": False, "tickangle": 0}
    if smallest == largest == 0:
        layout |= {"range": [-0.1, 1], "tickvals": [0], "ticktext": [f"0 {name}".rstrip()]}
    elif smallest > (1 - NARROW) * largest:
        middle, reach = (smallest + largest) / 2, max(NARROW * largest, 1.1 * (largest - smallest)) / 2
        layout["range"] = [short((middle - reach) / factor), short((middle + reach) / factor)]
    return Axis(factor, layout, name)


def ratio(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis of ratios: half and double are equally far from one."""
    low, high = min([*values, 0.9]) / 1.08, max([*values, 1.1]) * 1.08
    steps = (1, 1.1, 1.25, 1.5, 2, 3, 5) if high / low < 4 else (1, 2, 5) if high / low < 60 else (1,)
    ticks = [10.0**decade * step for decade in range(-3, 7) for step in steps]
    below = [0.8, 0.9] if high / low < 4 else [0.5] if high / low < 60 else []
    shown = sorted({t for t in (*ticks, *below) if low <= t <= high})
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": shown,
        "ticktext": [f"{t:g}×" for t in shown],
        "title": LOG,
        "tickangle": 0,
        "zeroline": False,
    }


def _tick(value: float, unit: Unit) -> str:
    factor, name = units.scale(value, unit)
    return f"{value / factor:.3g} {name}".rstrip()


def _decades(smallest: float, largest: float) -> list[float]:
    first, last = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
    steps = (1, 3) if last - first < 3 else (1,)
    return [step * 10.0**power for power in range(first, last + 1) for step in steps]

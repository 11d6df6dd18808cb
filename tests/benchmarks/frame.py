"""What a benchmark is made of: rows of numbers beside their bounds, a table, a JSON file, a verdict."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.errors import TareError


@dataclass(frozen=True, slots=True)
class Row:
    """One number: its raw values, and the bounds its median must keep, if there are any.

    `reason` says why nothing could be measured; a bound that could not be looked at counts as missed.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    at_most: float | None = None
    reason: str = ""
    at_least: float | None = None

    @property
    def measured(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        if self.reason:
            return "missed"
        if self.at_most is None and self.at_least is None:
            return "—"
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "met" if self.measured is not None and low <= self.measured <= high else "missed"

    @property
    def spread(self) -> tuple[float, float] | None:
        """The least and the largest value: with the few values there are, nothing finer is honest."""
        return (min(self.values), max(self.values)) if len(self.values) > 1 else None


Bench = Callable[[], Row]
"""Measures one row. Its docstring is not printed; `Row.what` is."""


def measure(benches: Sequence[Bench]) -> list[Row]:
    """Runs each; one that this host cannot do becomes a row with the reason."""
    rows = []
    for bench in benches:
        print(f"… {bench.__name__}", file=sys.stderr, flush=True)
        try:
            rows.append(bench())
        except TareError as error:
            rows.append(Row(bench.__name__, "", (), reason=error.message))
    return rows


def interleaved(first: Callable[[], object], second: Callable[[], object], pairs: int) -> list[tuple[float, float]]:
    """Seconds of both, by turns, so that drift hits both alike; one turn to warm up is dropped."""

    def seconds(call: Callable[[], object]) -> float:
        began_s = time.monotonic()
        call()
        return time.monotonic() - began_s

    return [(seconds(first), seconds(second)) for _ in range(pairs + 1)][1:]


def table(rows: Iterable[Row]) -> str:
    """The rows as text, columns aligned."""
    heads = ("what", "measured", "target", "verdict", "n", "spread")
    lines = [heads, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    measured = f"{row.measured:.4g} {row.unit}".rstrip() if row.measured is not None else row.reason
    bounds = [f"≥ {row.at_least:g}"] if row.at_least is not None else []
    bounds += [f"≤ {row.at_most:g}"] if row.at_most is not None else []
    target = f"{' '.join(bounds)} {row.unit}".rstrip() if bounds else "—"
    spread = f"{row.spread[0]:.4g} … {row.spread[1]:.4g}" if row.spread else "—"
    return (row.what, measured, target, row.verdict, str(len(row.values)), spread)


def as_data(rows: Iterable[Row]) -> list[dict[str, object]]:
    """The rows for a JSON file, raw values included."""
    return [
        {
            "what": row.what,
            "unit": row.unit,
            "measured": row.measured,
            "at_least": row.at_least,
            "at_most": row.at_most,
            "verdict": row.verdict,
            "n": len(row.values),
            "values": row.values,
            "reason": row.reason,
        }
        for row in rows
    ]


def summary(rows: Sequence[Row]) -> str:
    """The last line."""
    bound = [row for row in rows if row.verdict != "—"]
    return f"{sum(row.verdict == 'met' for row in bound)} of {len(bound)} targets met"

"""Each measured series with its values in order, under a name: what the forms for other programs are made of.

Warm-up, the A/A twin and failed trials are left out, and repetitions inside one box are one value, as in every summary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.model import Metric, Unit
from reports import units
from reports.summary import Series, per_trial, split
from reports.tidy import Tidy, emulated


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`box` is the runtime as it may be shown; `where` tells the series from others of that box and metric."""

    series: Series
    metric: Metric
    box: str
    where: str
    emulated: bool
    values: tuple[float, ...]

    @property
    def group(self) -> str:
        """What is measured, without by whom."""
        return f"{self.metric.name} {self.where}".rstrip()


def measured(tidy: Tidy) -> Iterator[Measured]:
    """Every series of every run, in the order it was first measured."""
    values = per_trial(tidy.measured())
    values = values[~values["twin"]]
    numbers = values["value"].to_numpy(float)
    for series, rows in split(values):
        slow = emulated(tidy.run(series.run), series.runtime)
        yield Measured(
            series=series,
            metric=tidy.metrics[series.metric],
            box=units.box(series.runtime, emulated=slow),
            where=tidy.where(series.scenario, series.params, series.labels),
            emulated=slow,
            values=tuple(numbers[rows].tolist()),
        )


def times(tidy: Tidy) -> Iterator[Measured]:
    """Those in seconds: the other tools know nothing else."""
    return (one for one in measured(tidy) if one.metric.unit is Unit.SECONDS)

"""One cell, one metric, all its samples → the numbers that stand for them.

Centre and spread are robust: median, median absolute deviation, interquartile range. The 95 % interval of a median is
the exact order-statistic one (Conover, Practical Nonparametric Statistics, §3.2): the k-th smallest to the k-th
largest value, k from the binomial distribution. It promises at least 95 % for any distribution and does not exist
below six samples. An exact metric has one value; if it varies, that is an error, not a spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from harness.model import Kind, Metric
from reports.tidy import CELL, SERIES, Tidy

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
"""Numbers of rows or blocks."""

SMALLEST_N = 6
"""The arithmetic floor: five samples cannot give a 95 % interval of the median, since 2·0.5⁵ > 0.05."""
OUTLIER_MADS = 14.826
"""Ten robust standard deviations: the cut hyperfine uses to mark a value, here too without removing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Which numbers: one metric of one cell of one run."""

    run: str
    scenario: str
    runtime: str
    params: str
    metric: str
    labels: str

    @classmethod
    def of(cls, key: Iterable[object]) -> Series:
        """From a pandas group key over `tidy.SERIES`."""
        return cls(**dict(zip(SERIES, map(str, key), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where values lie, and how widely. `low` and `high` are NaN below six of them."""

    n: int
    median: float
    low: float
    high: float
    mad: float
    iqr: float
    minimum: float
    maximum: float
    outliers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Spread):
    """A series in numbers. `failures` and `timeouts` count trials."""

    series: Series
    failures: int
    timeouts: int
    exact: bool
    emulated: bool

    @property
    def varies(self) -> bool:
        """An exact value that is not the same everywhere: an error."""
        return self.exact and self.minimum != self.maximum


def per_trial(frame: pd.DataFrame) -> pd.DataFrame:
    """One value per instance lifecycle: repetitions inside one are reduced to their median first."""
    keys = [*SERIES, "twin", "emulated", "block", "index"]
    if not frame.duplicated(["run", "index", "metric", "labels"]).any():
        return frame[[*keys, "value"]].reset_index(drop=True)
    return frame.groupby(keys, sort=False)["value"].median().reset_index()


def split(values: pd.DataFrame) -> list[tuple[Series, Places]]:
    """The places of each series' rows, series in the order they were first measured: one pass, no table a series."""
    numbers = values.groupby(SERIES, sort=False).ngroup().to_numpy(np.int64)
    order = np.argsort(numbers, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
    keys = values[SERIES].take(np.array([group[0] for group in rows], dtype=np.int64))
    return list(zip(map(Series.of, keys.itertuples(index=False, name=None)), rows, strict=True))


def summarise(tidy: Tidy) -> tuple[Summary, ...]:
    """Every series of a run, the twin's apart, in the order it was first measured."""
    values = per_trial(tidy.measured())
    values = values[~values["twin"]]
    found, counts = split(values), _failures(tidy)
    numbers, emulated = values["value"].to_numpy(float), values["emulated"].to_numpy(bool)
    lain = spreads([numbers[rows] for _, rows in found])
    return tuple(
        _summary(
            series,
            spread,
            tidy.metrics[series.metric],
            counts.get((series.run, series.scenario, series.runtime, series.params), (0, 0)),
            bool(emulated[rows].any()),
        )
        for (series, rows), spread in zip(found, lain, strict=True)
    )


def median_interval(values: Floats) -> tuple[float, float]:
    """The exact 95 % interval of the median, or NaNs where n is too small for one."""
    k = _rank(len(values))
    if k < 1:
        return math.nan, math.nan
    ordered = np.sort(values)
    return float(ordered[k - 1]), float(ordered[-k])


@cache
def _rank(n: int) -> int:
    """How far from either end the interval's ends are. Kept: most series of a run have the same n."""
    return int(stats.binom.ppf(0.025, n, 0.5)) if n else 0


def outliers(values: Floats) -> npt.NDArray[np.bool_]:
    """Marks values further from the median than ten robust standard deviations. Nothing is removed.

    Below six values the deviation of the middle ones says nothing about the others, and nothing is marked.
    """
    if len(values) < SMALLEST_N:
        return np.zeros(len(values), dtype=bool)
    distance = np.abs(values - np.median(values))
    mad = float(np.median(distance))
    return distance > OUTLIER_MADS * mad if mad > 0 else np.zeros(len(values), dtype=bool)


def spreads(groups: Sequence[Floats]) -> list[Spread]:
    """Of each series. Those of one length are a table of numbers, worked out in one go to the same bits."""
    found: dict[int, Spread] = {}
    alike: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        alike.setdefault(len(group), []).append(place)
    for places in alike.values():
        found |= zip(
            places, _of_one_length(np.sort(np.stack([groups[place] for place in places]), axis=1)), strict=True
        )
    return [found[place] for place in range(len(groups))]


def _of_one_length(ordered: Floats) -> Iterator[Spread]:
    """A row a series, its values in order."""
    n, k = ordered.shape[1], _rank(ordered.shape[1])
    medians = np.median(ordered, axis=1)
    distances = np.abs(ordered - medians[:, None])
    mads = np.median(distances, axis=1)
    iqrs = stats.iqr(ordered, axis=1)
    far = (distances > OUTLIER_MADS * mads[:, None]).sum(axis=1) * (mads > 0) * (n >= SMALLEST_N)
    for row, median, mad, iqr, beyond in zip(ordered, medians, mads, iqrs, far, strict=True):
        low, high = (float(row[k - 1]), float(row[-k])) if k >= 1 else (math.nan, math.nan)
        yield Spread(
            n=n,
            median=float(median),
            low=low,
            high=high,
            mad=float(mad),
            iqr=float(iqr),
            minimum=float(row[0]),
            maximum=float(row[-1]),
            outliers=int(beyond),
        )


def _summary(series: Series, spread: Spread, metric: Metric, lost: tuple[int, int], emulated: bool) -> Summary:
    return Summary(
        **asdict(spread),
        series=series,
        failures=lost[0],
        timeouts=lost[1],
        exact=metric.kind is Kind.EXACT,
        emulated=emulated,
    )


def _failures(tidy: Tidy) -> Mapping[tuple[str, ...], tuple[int, int]]:
    """Failed and timed-out trials per cell: warm-up and twin included in neither."""
    kept = tidy.trials[~tidy.trials["warmup"] & ~tidy.trials["twin"]]
    return {
        tuple(map(str, key)): (int((group["outcome"] == "failed").sum()), int((group["outcome"] == "timeout").sum()))
        for key, group in kept.groupby(CELL, sort=False)
    }

"""What is worked out for many series at once is, to the last bit, what each gives by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.model import Better, Kind, Metric, Unit
from reports.drift import changes
from reports.resample import Arm, Resampler
from reports.summary import Floats, median_interval, outliers, spreads
from reports.verdicts import Pair, mann_whitney

METRIC = Metric(name="made.up", unit=Unit.SECONDS, better=Better.LOWER, meaning="made up")
EXACT = Metric(name="made.exact", unit=Unit.BYTES, better=Better.LOWER, kind=Kind.EXACT, meaning="made up")


def drawn(rng: np.random.Generator, n: int, ties: bool) -> Floats:
    values = rng.lognormal(0, 0.3, n)
    return np.round(values, 1) if ties else values


def arm(values: Floats) -> Arm:
    return Arm(np.arange(len(values)), values)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("starts", [(), (0, 5), (0, 3, 19)])
@pytest.mark.parametrize("n", [6, 7, 20, 91, 300])
def test_resampled_medians_are_those_of_the_values_written_out(n: int, starts: tuple[int, ...], ties: bool) -> None:
    rng = np.random.default_rng(n)
    resampler = Resampler(7, range(n), starts)
    values = drawn(rng, n, ties)
    missing = rng.random(n) < 0.2
    found = resampler.medians(Arm(np.flatnonzero(~missing), values[~missing]))
    values[missing] = math.nan
    for place in range(0, len(found), 97):
        written = np.repeat(values, resampler.counts[:, place])
        written = written[~np.isnan(written)]
        assert np.array_equal(found[place], np.median(written) if len(written) else math.nan, equal_nan=True)


def test_spreads_of_many_are_those_of_each() -> None:
    rng = np.random.default_rng(3)
    groups = [drawn(rng, n, ties) for n in (1, 2, 5, 6, 20, 20, 20, 91, 91) for ties in (False, True)]
    groups.append(np.ones(20))
    groups.append(np.append(drawn(rng, 19, False), 1e6))
    for group, found in zip(groups, spreads(groups), strict=True):
        low, high = median_interval(group)
        assert np.array_equal([found.low, found.high], [low, high], equal_nan=True)
        assert found.median == np.median(group)
        assert found.mad == np.median(np.abs(group - np.median(group)))
        assert found.iqr == stats.iqr(group)
        assert (found.n, found.minimum, found.maximum) == (len(group), group.min(), group.max())
        assert found.outliers == outliers(group).sum()


def test_p_values_of_many_are_those_of_each() -> None:
    rng = np.random.default_rng(5)
    draws = Resampler(1, range(6))
    pairs = [
        Pair(METRIC, arm(drawn(rng, n, ties)), arm(drawn(rng, m, other)), draws, draws)
        for n, m in ((4, 4), (8, 8), (8, 12), (9, 9), (12, 9), (30, 30))
        for ties in (False, True)
        for other in (False, True)
        for _ in range(3)
    ]
    for pair, found in zip(pairs, mann_whitney(pairs), strict=True):
        assert found == stats.mannwhitneyu(pair.base.values, pair.arm.values, alternative="two-sided").pvalue


def test_p_values_of_what_cannot_be_tested() -> None:
    draws, same = Resampler(1, range(6)), arm(np.ones(20))
    exact, equal = (Pair(metric, same, same, draws, draws) for metric in (EXACT, METRIC))
    found = mann_whitney([exact, equal])
    assert math.isnan(found[0]) and found[1] == 1.0


def test_a_drift_is_that_of_scipy_or_within_the_margin() -> None:
    rng = np.random.default_rng(9)
    order = np.arange(40.0)
    for slope in (0.0, 0.0005, 0.001, 0.002, 0.005, -0.002):
        values = 1 + slope * order + rng.normal(0, 0.01, 40)
        length = float(np.ptp(order)) / float(np.median(values))
        whole = stats.theilslopes(values, order, alpha=0.95)
        wanted = (whole.slope * length, whole.low_slope * length, whole.high_slope * length)
        found = changes(values, order)
        assert found == wanted if found else not (wanted[1] > 0.05 or wanted[2] < -0.05)

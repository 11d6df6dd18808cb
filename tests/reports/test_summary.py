"""One cell in numbers, against values worked out by hand or by another program."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.model import Kind, Results
from reports import tidy
from reports.summary import Summary, median_interval, outliers, summarise
from tests.reports.planted import Planting, plant, trial


@pytest.mark.parametrize(
    ("n", "low", "high"),
    # Ranks of the 95 % interval of a median, as tables of order statistics print them.
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (12, 3, 10), (15, 4, 12), (20, 6, 15), (30, 10, 21), (60, 22, 39)],
)
def test_the_interval_is_the_one_of_the_tables(n: int, low: int, high: int) -> None:
    values = np.arange(1.0, n + 1)
    assert median_interval(np.random.default_rng(n).permutation(values)) == (low, high)


@pytest.mark.parametrize("n", range(6, 61))
def test_the_interval_is_the_one_of_scipy(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    theirs: Any = stats.quantile_test(values, q=np.median(values), p=0.5).confidence_interval(0.95)
    assert median_interval(values) == tuple(theirs)


@pytest.mark.parametrize("n", range(6))
def test_below_six_there_is_no_interval(n: int) -> None:
    assert all(math.isnan(end) for end in median_interval(np.arange(float(n))))


def _of(results: Results, runtime: str) -> Summary:
    return next(s for s in summarise(tidy.read([results])) if s.series.runtime == runtime)


def test_a_summary_by_hand() -> None:
    run = plant(Planting(ratios={})).run
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0]
    trials = tuple(trial("made", "native", block, {"made.up": value}) for block, value in enumerate(values))
    s = _of(Results(run=run, trials=trials), "native")
    assert (s.n, s.median, s.low, s.high) == (7, 4.0, 1.0, 100.0)
    assert (s.mad, s.iqr, s.minimum, s.maximum, s.outliers) == (2.0, 3.0, 1.0, 100.0, 1)


def test_repetitions_inside_one_lifecycle_count_once() -> None:
    run = plant(Planting(ratios={})).run
    one = trial("made", "native", 0, {"made.up": 1.0})
    again = type(one)(
        step=one.step, outcome=one.outcome, started_at="", elapsed_s=0.0, samples=(*one.samples * 3, one.samples[0])
    )
    assert _of(Results(run=run, trials=(again,)), "native").n == 1


def test_the_twin_is_in_no_summary() -> None:
    results = plant(Planting(ratios={}, blocks=10, twin_ratio=100.0))
    assert _of(results, "native").maximum < 10


def test_failures_are_counted_and_enter_nothing(golden: Results) -> None:
    boot = [s for s in summarise(tidy.read([golden])) if s.series.metric == "boot.ready"]
    assert {s.series.runtime: (s.n, s.failures, s.timeouts) for s in boot} == {
        "native": (12, 0, 0),
        "container": (12, 0, 0),
        "tcg": (11, 0, 1),
    }
    assert max(s.maximum for s in boot) < 10  # the sixty seconds of the timeout are nowhere


def test_an_exact_value_that_varies_is_an_error(golden: Results) -> None:
    summaries = summarise(tidy.read([golden]))
    kinds = tidy.read([golden]).metrics
    assert all(s.exact is (kinds[s.series.metric].kind is Kind.EXACT) for s in summaries)
    assert not any(s.varies for s in summaries)
    trials = tuple(trial("disk", "native", block, {"disk.content": size}) for block, size in enumerate((1.0, 1.0, 2.0)))
    assert _of(Results(run=golden.run, trials=trials), "native").varies


def test_far_values_are_marked_by_the_median_deviation() -> None:
    assert list(outliers(np.array([1.0, 1.1, 0.9, 1.0, 1.05, 9.0]))) == [False] * 5 + [True]
    assert not outliers(np.ones(5)).any()

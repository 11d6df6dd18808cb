"""The method against planted truth; `./tare-test bench truth` prints the same rows as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.benchmarks.frame import Row, table
from tests.metrology import planted_rows
from tests.metrology.world import Experiment, Weather

WEATHER = pytest.mark.parametrize("weather", list(Weather))


def check(row: Row) -> None:
    assert row.verdict == "met", table([row])


@pytest.mark.slow
@WEATHER
@pytest.mark.parametrize(
    "row",
    [
        planted_rows.false_verdicts,
        planted_rows.fifth_called,
        planted_rows.tenth_wrong_way,
        planted_rows.ratio_coverage,
    ],
    ids=lambda row: row.__name__,
)
def test_verdicts_hold_in_any_weather(row: Callable[[Weather], Row], weather: Weather) -> None:
    check(row(weather))


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [10, 20, 30])
def test_the_interval_of_a_median_holds_the_true_one(blocks: int) -> None:
    check(planted_rows.median_coverage(blocks))


@pytest.mark.slow
@pytest.mark.parametrize("percent", [5, 2])
def test_stopping_on_width_costs_little(percent: int) -> None:
    check(planted_rows.stopped_coverage(percent))


@pytest.mark.slow
def test_who_follows_the_advice_gets_an_answer() -> None:
    check(planted_rows.advice_given())
    check(planted_rows.advice_decides())


@pytest.mark.slow
def test_failures_are_counted_exactly_and_never_a_number() -> None:
    check(planted_rows.failures_counted())
    check(planted_rows.failures_kept_out())


def test_the_same_seed_plants_the_same_truth() -> None:
    experiment = Experiment(weather=Weather.WANDER, replications=range(3), blocks=4)
    first, second, other = (e.perform()[0] for e in (experiment, experiment, replace(experiment, seed=2)))
    assert [t.samples for t in first.trials] == [t.samples for t in second.trials]
    assert [t.samples for t in first.trials] != [t.samples for t in other.trials]

"""The stop rule: it looks at widths, never at what the numbers say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from harness import adaptive
from harness.adaptive import StopRule
from harness.model import Better, Cell, Kind, Metric, Outcome, Sample, Step, Trial, Unit
from reports.summary import median_interval
from tests import fakes

METRIC = Metric(name="m", unit=Unit.SECONDS, better=Better.LOWER, meaning="planted", precision=0.05)


@pytest.mark.parametrize("n", range(6, 80))
def test_the_interval_is_the_reports_own(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    assert adaptive.interval(values.tolist()) == median_interval(values)


@pytest.mark.parametrize("n", range(6))
def test_below_six_there_is_none(n: int) -> None:
    assert adaptive.interval([1.0] * n) is None


def rule(target: float | None = None) -> StopRule:
    found = StopRule.of(fakes.config(adaptive=True, precision=target), [fakes.scenario()])
    assert found is not None
    return found


def feed(to: StopRule, values: Sequence[float], **step: object) -> StopRule:
    for block, value in enumerate(values):
        cell = Cell(scenario="boot", runtime=str(step.get("runtime", "native")), twin=bool(step.get("twin")))
        to.add(
            Trial(
                step=Step(cell=cell, block=block, warmup=bool(step.get("warmup"))),
                outcome=Outcome.OK,
                started_at="",
                elapsed_s=0.0,
                samples=(Sample("boot.ready", value),),
            )
        )
    return to


def test_a_fixed_number_of_blocks_has_no_rule() -> None:
    assert StopRule.of(fakes.config(), [fakes.scenario()]) is None


@pytest.mark.parametrize(("blocks", "enough"), [(9, False), (10, True), (11, False), (12, True), (13, False)])
def test_it_is_asked_from_ten_blocks_on_after_every_second(blocks: int, enough: bool) -> None:
    assert feed(rule(), [1.0] * blocks).enough() is enough


def test_a_wide_interval_is_not_enough_and_the_target_decides_how_wide() -> None:
    values = [1.0, 1.1] * 6
    assert not feed(rule(), values).enough()
    assert feed(rule(0.2), values).enough()


def test_every_cell_must_be_precise() -> None:
    both = feed(feed(rule(), [1.0] * 10), [1.0, 2.0] * 5, runtime="fake")
    assert not both.enough()


def test_warm_up_and_twin_do_not_count() -> None:
    assert not feed(rule(), [1.0] * 10, warmup=True).enough()
    assert feed(feed(rule(), [1.0] * 10), [1.0, 9.0] * 5, twin=True).enough()


def test_a_difference_below_the_floor_is_precise_enough() -> None:
    values = [0.001, 0.002] * 5
    assert not adaptive.precise(values, METRIC, 0.05)
    floored = Metric(name="m", unit=Unit.SECONDS, better=Better.LOWER, meaning="planted", floor=0.001)
    assert adaptive.precise(values, floored, 0.05)


def test_sizes_and_what_has_no_direction_stop_nothing() -> None:
    scenario = fakes.scenario()
    exact = Metric(name="a", unit=Unit.BYTES, better=Better.LOWER, kind=Kind.EXACT, meaning="")
    neither = Metric(name="b", unit=Unit.BYTES, better=Better.NEITHER, meaning="")
    from dataclasses import replace

    found = StopRule.of(fakes.config(adaptive=True), [replace(scenario, metrics=(exact, neither, *scenario.metrics))])
    assert found is not None and set(found.metrics) == {"boot.ready"}

"""Drift and steps that were planted are found, and nothing else is."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.model import Results, Trial
from reports import tidy
from reports.drift import changepoint, drifts, sentences, steps
from tests.reports.planted import Planting, plant


def changed(results: Results, *, drift: float = 0.0, canary_step: float = 1.0) -> Results:
    def one(number: int, trial: Trial) -> Trial:
        factor = 1 + drift * number / len(results.trials)
        samples = tuple(msgspec.structs.replace(s, value=s.value * factor) for s in trial.samples)
        canary_s = 0.05 * (canary_step if trial.step.block >= 12 else 1.0) * (1 + 0.001 * (trial.step.block % 3))
        return msgspec.structs.replace(trial, samples=samples, noise={"canary_s": canary_s})

    return msgspec.structs.replace(results, trials=tuple(one(n, t) for n, t in enumerate(results.trials)))


def test_a_planted_drift_is_found_with_its_size() -> None:
    data = tidy.read([changed(plant(Planting(ratios={"box": 1.0}, sigma=0.01)), drift=0.3)])
    found = {drift.series.runtime: drift for drift in drifts(data)}
    assert set(found) == {"native", "box"}
    # A series sees 57 of the 60 trials pass, and its median is 1.15 times its first value.
    truth = 0.3 * 57 / 60 / 1.15
    assert all(drift.low - 0.01 < truth < drift.high + 0.01 for drift in found.values())
    assert all(drift.change == pytest.approx(truth, abs=0.02) for drift in found.values())
    assert any("numbers drifted from first to last: made.up on native by +2" in text for _, text, _ in sentences(data))


@pytest.mark.parametrize("seed", range(40))
def test_noise_is_no_drift(seed: int) -> None:
    data = tidy.read([changed(plant(Planting(ratios={"box": 1.0}, sigma=0.05, seed=seed)))])
    assert list(drifts(data)) == []
    assert list(steps(data)) == []


def test_a_step_of_the_canary_is_found_at_its_block() -> None:
    data = tidy.read([changed(plant(Planting(ratios={"box": 1.0})), canary_step=1.2)])
    (found,) = steps(data)
    assert found.block == 12
    assert found.ratio == pytest.approx(1.2, abs=0.01)
    assert any("From block 12 on the canary took 1.20×" in text for _, text, _ in sentences(data))


def test_a_canary_that_wavers_has_no_step() -> None:
    noise = np.random.default_rng(3)
    found = [changepoint(0.05 * noise.lognormal(0, 0.05, 20)) for _ in range(300)]
    assert sum(one is not None for one in found) <= 6
    assert changepoint(np.ones(40)) is None
    assert changepoint(np.arange(9.0)) is None

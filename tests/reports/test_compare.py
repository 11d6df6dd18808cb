"""Verdicts against planted truth."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.model import Better, Results
from reports import tidy
from reports.compare import Comparison, compare
from reports.resample import RESAMPLES
from reports.verdicts import Verdict, holm
from tests.reports.planted import Planting, plant, trial


def _one(results: Results, runtime: str = "box") -> Comparison:
    return next(c for c in compare(tidy.read([results])).made if c.series.runtime == runtime)


@pytest.mark.parametrize("seed", range(30))
def test_identical_systems_are_never_called_different(seed: int) -> None:
    verdict = _one(plant(Planting(ratios={"box": 1.0}, seed=seed, sigma=0.05))).verdict
    assert verdict in (Verdict.SAME, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_more_is_called(seed: int) -> None:
    found = _one(plant(Planting(ratios={"box": 1.2}, seed=seed, sigma=0.03)))
    assert found.verdict is Verdict.WORSE
    assert found.effect.low < 1.2 < found.effect.high or found.effect.estimate == pytest.approx(1.2, rel=0.03)


@pytest.mark.parametrize(
    ("better", "ratio", "verdict"),
    [
        (Better.LOWER, 1.5, Verdict.WORSE),
        (Better.LOWER, 0.5, Verdict.BETTER),
        (Better.HIGHER, 1.5, Verdict.BETTER),
        (Better.HIGHER, 0.5, Verdict.WORSE),
        (Better.NEITHER, 1.5, Verdict.NO_DIRECTION),
    ],
)
def test_the_direction_of_the_metric_decides(better: Better, ratio: float, verdict: Verdict) -> None:
    assert _one(plant(Planting(ratios={"box": ratio}, better=better))).verdict is verdict


def test_too_few_blocks_give_values_and_no_verdict() -> None:
    found = _one(plant(Planting(ratios={"box": 40.0}, blocks=9)))
    assert found.verdict is Verdict.TOO_FEW
    assert found.effect.estimate == pytest.approx(40, rel=0.1)
    assert _one(plant(Planting(ratios={"box": 40.0}, blocks=10))).verdict is Verdict.WORSE


def test_below_six_blocks_a_ratio_has_no_interval() -> None:
    found = _one(plant(Planting(ratios={"box": 40.0}, blocks=5)))
    assert math.isnan(found.effect.low) and math.isnan(found.effect.high)
    assert not math.isnan(_one(plant(Planting(ratios={"box": 40.0}, blocks=6))).effect.low)


def test_inconclusive_says_how_many_blocks_would_decide() -> None:
    found = _one(plant(Planting(ratios={"box": 1.12}, sigma=0.15, seed=3)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.needed is None or found.needed > found.n


def test_a_difference_below_the_floor_is_no_difference() -> None:
    found = _one(plant(Planting(ratios={"box": 1.5}, base=0.001, floor=0.001)))
    assert (found.verdict, found.margin.source) == (Verdict.SAME, "absolute floor")
    assert found.margin.size == pytest.approx(1, rel=0.05)


def test_the_twin_widens_the_margin() -> None:
    found = _one(plant(Planting(ratios={"box": 1.2}, twin_ratio=1.3)))
    assert (found.verdict, found.margin.source) == (Verdict.SAME, "A/A twin")
    below = _one(plant(Planting(ratios={"box": 1.2}, twin_ratio=1 / 1.3)))
    assert below.margin.size == pytest.approx(0.3, abs=0.05)


def test_the_same_file_gives_the_same_bits_and_another_seed_others() -> None:
    results = plant(Planting(ratios={"box": 1.1}))
    assert compare(tidy.read([results])) == compare(tidy.read([results]))
    other = Results(run=msgspec.structs.replace(results.run, seed=99), trials=results.trials)
    assert _one(results).effect.estimate == _one(other).effect.estimate
    assert _one(results).effect != _one(other).effect


def test_the_interval_agrees_with_scipy() -> None:
    results = plant(Planting(ratios={"box": 1.3}, sigma=0.1))
    frame = tidy.read([results]).measured()
    base = frame.loc[(frame["runtime"] == "native") & ~frame["twin"], "value"].to_numpy(float)
    box = frame.loc[frame["runtime"] == "box", "value"].to_numpy(float)
    theirs = stats.bootstrap(
        (base, box),
        lambda a, b, axis: np.median(b, axis=axis) / np.median(a, axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    ours = _one(results).effect
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_blocks_are_resampled_so_shared_drift_cancels() -> None:
    run = plant(Planting(ratios={"box": 1.0})).run
    drift = [1.0 + block for block in range(20)]
    trials = [trial("made", "native", b, {"made.up": d}) for b, d in enumerate(drift)]
    trials += [trial("made", "box", b, {"made.up": d * 1.5}) for b, d in enumerate(drift)]
    found = _one(Results(run=run, trials=tuple(trials)))
    assert (found.effect.low, found.effect.estimate, found.effect.high) == pytest.approx((1.5, 1.5, 1.5))


def test_a_reference_of_zero_is_compared_by_difference(golden: Results) -> None:
    found = next(
        c
        for c in compare(tidy.read([golden])).made
        if (c.series.metric, c.series.runtime) == ("disk.marginal", "container")
    )
    assert (found.effect.relative, found.effect.estimate, found.verdict) == (False, 8192.0, Verdict.SAME)


def test_exact_sizes_need_no_blocks(golden: Results) -> None:
    run = golden.run
    trials = tuple(
        trial("disk", name, 0, {"disk.transfer": size}) for name, size in (("native", 1e6), ("container", 9e6))
    )
    found = _one(Results(run=run, trials=trials), "container")
    assert (found.verdict, found.effect.estimate, found.exact) == (Verdict.WORSE, 9.0, True)
    varying = (*trials, trial("disk", "container", 1, {"disk.transfer": 8e6}))
    assert _one(Results(run=run, trials=varying), "container").verdict is Verdict.VARIES


def test_emulation_is_marked(golden: Results) -> None:
    assert all(c.emulated is (c.series.runtime == "tcg") for c in compare(tidy.read([golden])).made)


def test_a_phase_the_reference_lacks_is_compared_with_nothing(golden: Results) -> None:
    assert not any(c.series.metric == "boot.phase.kernel" for c in compare(tidy.read([golden])).made)


def test_holm_by_hand() -> None:
    # 4·0.005, 3·0.01, 2·0.03, and 0.04 is lifted to what came before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_a_p_and_keeps_their_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(before <= after <= 1 for before, after in zip(values, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(values, kind="stable")] == sorted(adjusted)


def test_p_values_support_only_what_varies() -> None:
    found = _one(plant(Planting(ratios={"box": 2.0})))
    assert found.p < 1e-6
    assert found.p_holm == found.p  # a single comparison needs no adjustment
    same = _one(plant(Planting(ratios={"box": 1.0}, sigma=0.0)))
    assert same.p == 1.0


def test_a_box_without_its_reference_is_not_compared() -> None:
    results = plant(Planting(ratios={"box": 2.0}))
    alone = tuple(t for t in results.trials if t.step.cell.runtime == "box")
    assert compare(tidy.read([Results(run=results.run, trials=alone)])).made == ()


def test_a_lost_trial_leaves_its_block_to_the_others() -> None:
    results = plant(Planting(ratios={"box": 1.5}, blocks=12))
    fewer = tuple(t for t in results.trials if not (t.step.cell.runtime == "box" and t.step.block in (2, 5)))
    found = _one(Results(run=results.run, trials=fewer))
    assert (found.n, found.verdict) == (10, Verdict.WORSE)
    assert math.isfinite(found.effect.high)

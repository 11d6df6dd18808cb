"""Results as tables."""

from __future__ import annotations

import pandas as pd

from harness.model import Cell, Outcome, Results, Sample, Step, Trial
from reports import tidy
from reports.compare import compare
from reports.summary import summarise
from tests.reports.planted import Planting, plant


def test_every_sample_has_a_row_and_every_trial_too(golden: Results) -> None:
    data = tidy.read([golden])
    assert len(data.trials) == len(golden.trials)
    assert len(data.samples) == sum(len(trial.samples) for trial in golden.trials)


def test_only_good_trials_after_the_warm_up_are_measured(golden: Results) -> None:
    measured = tidy.read([golden]).measured()
    assert set(measured["outcome"]) == {"ok"}
    assert set(measured["block"]) == set(range(1, 13))
    boot = measured[(measured["scenario"] == "boot") & (measured["metric"] == "boot.ready")]
    assert len(boot[boot["runtime"] == "tcg"]) == 11  # one of twelve ran out of time
    assert len(boot[(boot["runtime"] == "native") & boot["twin"]]) == 12


def test_emulation_is_in_every_row(golden: Results) -> None:
    data = tidy.read([golden])
    assert set(data.samples.loc[data.samples["emulated"], "runtime"]) == {"tcg"}
    assert not data.samples.loc[data.samples["runtime"] != "tcg", "emulated"].any()


def test_the_order_asked_for_is_kept_and_alternatives_are_split(golden: Results) -> None:
    assert tidy.runtimes(golden.run) == ("native", "container", "kvm", "tcg")


def test_nothing_is_lost_on_the_way_to_a_flat_table(golden: Results) -> None:
    table = tidy.everything(tidy.read([golden]))
    outcomes = table.drop_duplicates(["run", "index"])["outcome"].value_counts().to_dict()
    assert outcomes == {"ok": 206, "skipped": 4, "failed": 1, "timeout": 1}
    reasons = set(table.loc[table["value"].isna(), "reason"])
    assert {"/dev/kvm does not exist", "kernel crypto ended with 139", "this kind of box has no such phase"} <= reasons


def test_two_runs_keep_their_trials_apart() -> None:
    one, two = plant(Planting(ratios={}, seed=1)), plant(Planting(ratios={}, seed=2))
    data = tidy.read([one, two])
    assert len(tidy.everything(data)) == len(one.trials) + len(two.trials)


def test_a_run_without_trials_is_empty_and_not_an_error() -> None:
    data = tidy.read([Results(run=plant(Planting(ratios={})).run, trials=())])
    assert data.measured().empty
    assert tidy.everything(data).empty


def test_a_metric_nobody_defined_still_has_a_name() -> None:
    results = plant(Planting(ratios={}, blocks=1))
    step = Step(cell=Cell(scenario="made", runtime="native"))
    odd = Trial(
        step=step, outcome=Outcome.OK, started_at="", elapsed_s=0.0, samples=(Sample("odd", 1.0, {"b": "2", "a": "1"}),)
    )
    data = tidy.read([Results(run=results.run, trials=(odd,))])
    assert data.metrics["odd"].meaning == ""
    assert list(data.samples["labels"]) == ["a=1 b=2"]


def test_a_file_and_its_objects_give_the_same_bits(golden: Results) -> None:
    objects = Results(run=golden.run, trials=tuple(golden.trials))
    one, two = tidy.read([golden]), tidy.read([objects])
    pd.testing.assert_frame_equal(one.samples, two.samples, check_exact=True)
    pd.testing.assert_frame_equal(one.trials, two.trials, check_exact=True)
    pd.testing.assert_frame_equal(one.absent, two.absent, check_exact=True)
    assert repr(summarise(one)) == repr(summarise(two))
    assert repr(compare(one)) == repr(compare(two))

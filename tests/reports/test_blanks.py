"""What there is to show when there is nothing: a reason, an axis; and a box that is known says what it is."""

from __future__ import annotations

import msgspec

from harness.model import Outcome, Results, Unit
from harness.registry import RUNTIMES, names
from reports.analysis import analyse
from reports.axes import choose
from reports.blanks import nothing
from reports.kinds import kinds
from tests.reports.planted import Planting, plant


def _said(results: Results) -> str:
    return nothing(analyse([results]))


def test_a_run_with_answers_has_no_excuse(golden: Results) -> None:
    assert _said(golden) == ""


def test_each_emptiness_has_its_own_reason(golden: Results) -> None:
    empty = Results(run=golden.run, trials=())
    assert _said(empty) == "Nothing was measured."
    outcomes = (Outcome.FAILED, Outcome.FAILED, Outcome.TIMEOUT)
    kept = [trial for trial in golden.trials if trial.outcome is Outcome.OK]
    lost = tuple(msgspec.structs.replace(t, outcome=o, samples=()) for t, o in zip(kept, outcomes, strict=False))
    said = _said(Results(run=golden.run, trials=lost))
    assert said == "Nothing was measured: of the trials 2 failed, 1 ran out of time. The doubts say why."
    assert "only native was measured" in _said(plant(Planting(ratios={}, blocks=1)))
    others = tuple(trial for trial in golden.trials if trial.step.cell.runtime != "native")
    assert "native was not measured" in _said(Results(run=golden.run, trials=others))


def test_every_runtime_of_ours_is_explained() -> None:
    ours = names(RUNTIMES)
    assert [name for name, _ in kinds(ours)] == list(ours)
    assert kinds(["mine"]) == []


def test_an_axis_of_nothing_but_zero_starts_there() -> None:
    axis = choose([0.0, 0.0], Unit.SECONDS)
    assert axis.layout["tickvals"] == [0] and axis.layout["range"] == [-0.1, 1]
    assert axis.around([0.0]) == [-0.1, 1]

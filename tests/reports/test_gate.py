"""The gate: judged on the interval's bound, nothing unnamed, never a verdict where there can be none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from harness import gate as rules
from harness.errors import UsageError
from harness.gate import NOT_COMPARABLE, REGRESSION, Question, Ruling, Side
from harness.model import Cell, Outcome, Results, Trial
from reports.gate import gate
from tests.reports.planted import Planting, plant


def planted(seed: int, ratio: float = 1.0, **more: Any) -> Results:
    return plant(Planting(ratios={"box": ratio}, seed=seed, **more))


def ask(old: Side, new: Side, *limits: str, **more: Any) -> Ruling:
    return gate.compare(Question(old=old, new=new, limits=[rules.limit(text) for text in limits], **more))


def rows(ruling: Ruling) -> dict[str, dict[str, Any]]:
    return {row["runtime"]: row for row in json.loads(ruling.document)["rows"]}


def two(ratio: float, *limits: str, sigma: float = 0.02, **more: Any) -> Ruling:
    """The box takes `ratio` times as long in the new run; native is as it was."""
    old, new = planted(1, sigma=sigma), planted(2, ratio, sigma=sigma)
    return ask(Side(old), Side(new), *limits, form="json", **more)


@pytest.mark.parametrize(
    ("ratio", "limits", "verdict", "code"),
    [
        (1.2, ("made.up:10%",), "WORSE", REGRESSION),
        (1.2, ("made.up:30%",), "SAME", 0),
        (1.2, ("made.up:100ms",), "WORSE", REGRESSION),
        (1.2, ("made.*:10%", "made.up:50%"), "WORSE", REGRESSION),
        (0.7, ("made.up:10%",), "BETTER", 0),
        (1.2, (), "WORSE", 0),
        (1.1, ("made.up:10%",), "INCONCLUSIVE", 0),
    ],
)
def test_the_bound_decides(ratio: float, limits: tuple[str, ...], verdict: str, code: int) -> None:
    ruling = two(ratio, *limits)
    assert (rows(ruling)["box"]["verdict"], ruling.code) == (verdict, code)
    assert rows(ruling)["native"]["verdict"] in ("SAME", "INCONCLUSIVE")


def test_strict_wants_a_decision() -> None:
    assert two(1.1, "made.up:10%", strict=True).code == rules.INCONCLUSIVE
    assert two(1.2, strict=True).code == REGRESSION  # without limits everything is gated
    assert two(1.0, "made.up:30%", strict=True).code == 0


def test_a_pointwise_regression_within_noise_is_none() -> None:
    ruling = two(1.12, "made.up:10%", sigma=0.3)
    assert (rows(ruling)["box"]["verdict"], ruling.code) == ("INCONCLUSIVE", 0)


def test_too_few_trials_give_no_verdict() -> None:
    old, new = planted(1, blocks=5), planted(2, 9.0, blocks=5)
    ruling = ask(Side(old), Side(new), "made.up:10%", form="json", strict=True)
    assert (rows(ruling)["box"]["verdict"], ruling.code) == ("TOO_FEW", rules.INCONCLUSIVE)


def lost(results: Results, runtime: str, outcome: Outcome = Outcome.FAILED) -> Results:
    def one(trial: Trial) -> Trial:
        gone = msgspec.structs.replace(trial, outcome=outcome, samples=())
        return gone if trial.step.cell.runtime == runtime and not trial.step.cell.twin else trial

    return msgspec.structs.replace(results, trials=tuple(map(one, results.trials)))


@pytest.mark.parametrize("side", ["old", "new"])
def test_failures_on_one_side_are_named_and_close_the_gate(side: str) -> None:
    old, new = planted(1), planted(2)
    old, new = (lost(old, "box"), new) if side == "old" else (old, lost(new, "box"))
    ruling = ask(Side(old), Side(new), "made.up:10%", form="json")
    row = rows(ruling)["box"]
    assert row["problem"] == f"the {side} side has no value: 20 of 20 trials were lost"
    assert "verdict" not in row
    assert ruling.code == NOT_COMPARABLE
    assert ask(Side(old), Side(new), form="json").code == 0  # nothing was gated


def times(results: Results, factor: float) -> Results:
    def one(trial: Trial) -> Trial:
        samples = tuple(msgspec.structs.replace(s, value=s.value * factor) for s in trial.samples)
        return msgspec.structs.replace(trial, samples=samples)

    return msgspec.structs.replace(results, trials=tuple(map(one, results.trials)))


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_percentage_of_nothing_is_named(factor: float) -> None:
    ruling = ask(Side(times(planted(1), factor)), Side(planted(2)), "made.up:10%", form="json")
    assert "means nothing" in rows(ruling)["box"]["problem"]
    assert ruling.code == NOT_COMPARABLE
    absolute = ask(Side(times(planted(1), factor)), Side(planted(2)), "made.up:10ms", form="json")
    assert (rows(absolute)["box"]["verdict"], absolute.code) == ("WORSE", REGRESSION)


def test_what_differs_refuses_and_force_says_so() -> None:
    old = planted(1)
    new = planted(2)
    new = msgspec.structs.replace(new, run=msgspec.structs.replace(new.run, host={"kernel": "6.2"}))
    refused = ask(Side(old), Side(new), "made.up:10%")
    assert refused.code == NOT_COMPARABLE
    assert "! host kernel: None → 6.2" in refused.document
    assert "WORSE" not in refused.document and "SAME" not in refused.document
    forced = ask(Side(old), Side(new), "made.up:50%", force=True)
    assert forced.code == 0
    assert "Compared although these differ: host kernel." in forced.document


def test_runs_without_a_common_cell() -> None:
    def moved(trial: Trial) -> Trial:
        cell = Cell(scenario="other", runtime=trial.step.cell.runtime, twin=trial.step.cell.twin)
        return msgspec.structs.replace(trial, step=msgspec.structs.replace(trial.step, cell=cell))

    new = planted(2)
    elsewhere = msgspec.structs.replace(new, trials=tuple(map(moved, new.trials)))
    for other in (elsewhere, msgspec.structs.replace(new, trials=())):
        ruling = ask(Side(planted(1)), Side(other))
        assert ruling.code == NOT_COMPARABLE
        assert "no cell in common" in ruling.document


def test_a_limit_that_watches_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no metric is called 'made\.down'"):
        two(1.0, "made.down:5%")
    with pytest.raises(UsageError, match="is in B"):
        two(1.0, "made.up:5MiB")


def test_two_runtimes_of_a_run_share_its_blocks() -> None:
    run = planted(1, 1.2)
    ruling = ask(Side(run, "native"), Side(run, "box"), "made.up:10%", form="json")
    assert rows(ruling)[""]["verdict"] == "WORSE"
    assert ruling.code == REGRESSION


def test_the_old_and_the_new_half_of_a_run() -> None:
    run = plant(Planting(ratios={"box": 1.5, "native@base": 1.0, "box@base": 1.0}, seed=3))
    ruling = ask(Side(run, "@base"), Side(run, "@new"), "made.up:10%", form="json")
    found = rows(ruling)
    assert {name: row["verdict"] for name, row in found.items()} == {"native": "SAME", "box": "WORSE"}


def test_the_same_question_gets_the_same_answer_to_the_last_bit() -> None:
    assert two(1.1, "made.up:10%") == two(1.1, "made.up:10%")


def test_two_runs_of_one_seed_are_not_taken_for_pairs() -> None:
    old = planted(1, sigma=0.1)
    again = msgspec.structs.replace(old, run=msgspec.structs.replace(old.run, id="again"))
    row = rows(ask(Side(old), Side(again), form="json"))["native"]
    assert row["effect"] == 1.0
    assert row["low"] < 0.97 and row["high"] > 1.03  # paired, the interval would be a point


def test_sittings_are_drawn_before_blocks() -> None:
    """Ten blocks at 1.0 and ten at 1.3: within each sitting there is no spread, between them there is."""

    def sat(results: Results, sessions: dict[str, int]) -> Results:
        def one(trial: Trial) -> Trial:
            box = trial.step.cell.runtime == "box"
            value = (1.3 if trial.step.block >= 10 else 1.0) if box else 1.0
            samples = tuple(msgspec.structs.replace(s, value=value) for s in trial.samples)
            return msgspec.structs.replace(trial, samples=samples)

        run = msgspec.structs.replace(results.run, sessions=sessions)
        return Results(run=run, trials=tuple(map(one, results.trials)))

    run = sat(planted(1), {"a": 0, "b": 10})
    row = rows(ask(Side(run, "native"), Side(run, "box"), form="json"))[""]
    assert (row["low"], row["high"]) == (1.0, 1.3)


def test_markdown_is_for_a_pull_request() -> None:
    old, new = planted(1), planted(2, 1.5)
    document = ask(Side(old), Side(new), "made.up:10%", form="markdown").document
    (row,) = [line for line in document.splitlines() if line.startswith("| made.up box")]
    assert len(row.strip("| ").split(" | ")) == 7
    assert "▲ WORSE" in document
    assert "beyond the limit: made.up box" in document

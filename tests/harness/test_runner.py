"""The runner: failures are results, budgets end between blocks, an interrupt unwinds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness import plan, runner
from harness.adaptive import StopRule
from harness.contract import Absent, Bench, Finding, Scenario
from harness.errors import TrialTimeout
from harness.model import Cell, Outcome, Prepared, Sample, Step, Support, Trial
from harness.session import Session
from tests import fakes

SUPPORTS = {"native": Support(available=True), "fake": Support(available=True)}


def session(**runtimes: fakes.FakeRuntime) -> Session:
    opened = Session(fakes.config(trial_timeout_s=5.0), SUPPORTS, names=(f"tare-t-{n}" for n in range(10_000)))
    opened.runtimes |= runtimes
    opened.prepared |= {name: Prepared(image=fakes.IMAGE, artifacts=()) for name in runtimes}
    return opened


def trials(opened: Session, scenario: Scenario, logs: list[str] | None = None) -> list[Trial]:
    steps = plan.plan(opened.config, [scenario], SUPPORTS, 1)
    kept: list[str] = [] if logs is None else logs
    quiet = runner.Senses(witness=Planted(), settle=lambda _: True)
    return list(
        runner.Execution(
            session=opened,
            scenarios={scenario.name: scenario},
            keep_log=lambda failure: kept.append(failure.text),
            senses=quiet,
        ).trials(steps)
    )


def test_every_step_becomes_a_trial_with_its_samples() -> None:
    fake, native = fakes.FakeRuntime(), fakes.FakeRuntime("native")
    done = trials(session(fake=fake, native=native), fakes.scenario())
    assert len(done) == 12
    assert all(trial.outcome is Outcome.OK and trial.samples == (Sample("boot.ready", 1.5),) for trial in done)
    assert all(instance.stopped for instance in fake.instances + native.instances)
    assert len({instance.name for instance in fake.instances + native.instances}) == 12
    assert all(trial.noise["canary_s"] > 0 for trial in done)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (fakes.broken(), Outcome.FAILED),
        (TrialTimeout("too slow", log="the box said this"), Outcome.TIMEOUT),
        (ZeroDivisionError("a bug in a driver"), Outcome.FAILED),
    ],
)
def test_a_failure_is_a_result_without_samples_and_the_run_goes_on(fault: Exception, outcome: Outcome) -> None:
    logs: list[str] = []
    broken = fakes.FakeRuntime(fault=fault)
    done = trials(session(fake=broken, native=fakes.FakeRuntime("native")), fakes.scenario(), logs)
    failed = [trial for trial in done if trial.step.cell.runtime == "fake"]
    assert {trial.outcome for trial in failed} == {outcome}
    assert all(not trial.samples and trial.reason for trial in failed)
    assert all(trial.outcome is Outcome.OK for trial in done if trial.step.cell.runtime == "native")
    assert all(instance.stopped for instance in broken.instances)
    assert len(logs) == len(failed)
    assert "the box said this" in logs[0] or "ZeroDivisionError" in logs[0]


def test_a_trial_that_hangs_is_cut_off() -> None:
    def hang(bench: Bench) -> Iterator[Finding]:
        with bench.start():
            time.sleep(60)
        yield Sample("boot.ready", 0.0)

    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    opened.config = fakes.config(trial_timeout_s=0.02, blocks=1, warmup_blocks=0)
    done = trials(opened, fakes.scenario(measure=hang))
    assert {trial.outcome for trial in done} == {Outcome.TIMEOUT}


def test_an_absent_metric_is_recorded_with_its_reason() -> None:
    def absent(bench: Bench) -> Iterator[Finding]:
        yield Absent("boot.ready", "no such phase")

    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    done = trials(opened, fakes.scenario(measure=absent))
    assert all(trial.absent == {"boot.ready": "no such phase"} for trial in done)


def test_an_interrupt_is_not_swallowed_and_the_box_is_stopped() -> None:
    fake = fakes.FakeRuntime(fault=KeyboardInterrupt())  # type: ignore[arg-type]  # an interrupt, not an error
    with pytest.raises(KeyboardInterrupt):
        trials(session(fake=fake, native=fakes.FakeRuntime("native")), fakes.scenario())
    assert all(instance.stopped for instance in fake.instances)


def test_the_budget_ends_the_run_between_blocks() -> None:
    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    opened.config = fakes.config(budget_s=10.0, blocks=50)
    ticks = iter(range(0, 10_000, 4))
    steps = plan.plan(opened.config, [fakes.scenario()], SUPPORTS, 1)
    scenarios = {"boot": fakes.scenario()}
    senses = runner.Senses(clock=lambda: float(next(ticks)), witness=Planted())
    counted = runner.Execution(session=opened, scenarios=scenarios, keep_log=lambda _: None, senses=senses)
    done = list(counted.trials(steps))
    blocks = [trial.step.block for trial in done]
    assert max(blocks) < 5
    assert all(blocks.count(block) == 3 for block in set(blocks))


class Planted:
    """A witness with a planted steal per trial, in the order of the trials."""

    def __init__(self, *steal: float) -> None:
        self._steal = iter(steal)

    def begin(self) -> None:
        """Nothing to remember."""

    def evidence(self) -> dict[str, float]:
        return {"steal": next(self._steal, 0.0)}


def execution(opened: Session, *steal: float, **changes: object) -> runner.Execution:
    return runner.Execution(
        session=opened,
        scenarios={"boot": fakes.scenario()},
        keep_log=lambda _: None,
        senses=runner.Senses(witness=Planted(*steal), settle=lambda _: True),
        **changes,  # type: ignore[arg-type]  # one of its fields
    )


def test_a_tainted_trial_is_repeated_once_in_its_block_and_both_are_kept() -> None:
    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    steps = plan.plan(opened.config, [fakes.scenario()], SUPPORTS, 1)
    # Warm-up: three trials, the first tainted. Block 1: three, the second tainted, and so is its repetition.
    done = list(execution(opened, 0.9, 0.0, 0.0, 0.0, 0.9, 0.0, 0.9).trials(steps))
    assert [len([t for t in done if t.step.block == block]) for block in range(4)] == [3, 4, 3, 3]
    block = [trial for trial in done if trial.step.block == 1]
    assert [(trial.step.attempt, trial.taints) for trial in block] == [
        (0, ()),
        (0, ("steal",)),
        (0, ()),
        (1, ("steal",)),
    ]
    assert block[1].step.cell == block[3].step.cell
    opened.config = fakes.config(repeat_tainted=False)
    assert len(list(execution(opened, *[0.9] * 12).trials(steps))) == 12


@pytest.mark.parametrize("cut", range(14))
def test_a_run_that_was_cut_anywhere_ends_as_if_it_had_not_been(cut: int) -> None:
    """Steps once each, a tainted trial repeated once, the new process warmed up: whatever the cut fell between."""
    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    steps = plan.plan(opened.config, [fakes.scenario()], SUPPORTS, 1)
    steal = (0.9, 0.0, 0.0, 0.0, 0.9, 0.9)  # of block 1, after the warm-up, the second and the third
    whole = list(execution(opened, *steal).trials(steps))
    assert len(whole) == 14
    past = plan.Past(whole[:cut])
    rest = list(execution(opened, past=past).trials(past.left(steps, repeat_tainted=True)))
    assert {trial.step.warmup for trial in rest[:3]} == {True}
    assert [trial.step.attempt for trial in rest[:3]] == [1 if cut else 0] * 3
    done = [trial for trial in whole[:cut] + rest if not trial.step.warmup]
    first = [trial.step for trial in done if not trial.step.attempt]
    assert first == [step for step in steps if not step.warmup]
    tainted = [(trial.step.block, trial.step.cell) for trial in done if trial.taints and not trial.step.attempt]
    assert [(trial.step.block, trial.step.cell) for trial in done if trial.step.attempt] == tainted
    assert [trial.step.block for trial in done] == sorted(trial.step.block for trial in done)


def test_of_a_whole_run_nothing_is_left() -> None:
    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    steps = plan.plan(opened.config, [fakes.scenario()], SUPPORTS, 1)
    whole = list(execution(opened, 0.0, 0.0, 0.0, 0.9).trials(steps))
    assert plan.Past(whole).left(steps, repeat_tainted=True) == ()
    cut = [trial for trial in whole if not trial.step.attempt]
    (*warm, owed) = plan.Past(cut).left(steps, repeat_tainted=True)
    assert (owed.block, owed.attempt, len(warm)) == (1, 1, 3)
    assert plan.Past(cut).left(steps, repeat_tainted=False) == ()


def test_a_resumed_run_has_what_is_left_of_its_budget() -> None:
    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    opened.config = fakes.config(budget_s=60.0)
    steps = plan.plan(opened.config, [fakes.scenario()], SUPPORTS, 1)
    before = [msgspec.structs.replace(trial, elapsed_s=9.0, settle_s=1.0) for trial in execution(opened).trials(steps)]
    for cut, blocks in ((4, {0, 1, 2, 3}), (7, {0, 2})):  # 40 s are spent; 70 s are: block 2 was begun and is ended
        past = plan.Past(before[:cut])
        rest = list(execution(opened, past=past).trials(past.left(steps, repeat_tainted=True)))
        assert {trial.step.block for trial in rest} == blocks


def test_a_lost_trial_is_a_result_and_not_repeated() -> None:
    opened = session(fake=fakes.FakeRuntime(fault=fakes.broken()), native=fakes.FakeRuntime("native"))
    steps = plan.plan(fakes.config(runtimes=("fake",)), [fakes.scenario()], SUPPORTS, 1)
    assert len(list(execution(opened, *[0.9] * 9).trials(steps))) == 4


def test_precision_ends_a_run_between_blocks() -> None:
    opened = session(fake=fakes.FakeRuntime(), native=fakes.FakeRuntime("native"))
    opened.config = fakes.config(adaptive=True)
    steps = plan.plan(opened.config, [fakes.scenario()], SUPPORTS, 1)
    assert len(steps) == 3 * 61
    rule = StopRule.of(opened.config, [fakes.scenario()])
    done = list(execution(opened, rule=rule).trials(steps))
    assert {trial.step.block for trial in done} == set(range(11))  # a warm-up, and the ten that always are


def test_a_cell_that_cannot_be_prepared_is_a_failure() -> None:
    broken = fakes.FakeRuntime(fault=fakes.broken("cannot be warmed"))
    opened = session(fake=broken, native=fakes.FakeRuntime("native"))
    warm = [Step(cell=Cell(scenario="boot", runtime="fake", params={"cache": "warm"}))]
    (done,) = execution(opened).trials(warm)
    assert (done.outcome, done.reason, done.samples) == (Outcome.FAILED, "cannot be warmed", ())
    assert len(broken.instances) == 1  # the measurement itself was not begun


def test_a_warm_cell_starts_one_box_more() -> None:
    fake = fakes.FakeRuntime()
    opened = session(fake=fake, native=fakes.FakeRuntime("native"))
    warm = [Step(cell=Cell(scenario="boot", runtime="fake", params={"cache": "warm"}))]
    assert next(iter(execution(opened).trials(warm))).outcome is Outcome.OK
    assert len(fake.instances) == 2


def test_settling_is_bounded() -> None:
    began_s = time.monotonic()
    runner.settle(0.05)
    assert time.monotonic() - began_s < 1.0
    assert runner.settle(0.0)  # not asked for, so nothing was missed


def test_the_harness_itself_costs_microseconds() -> None:
    assert 0 < runner.floor() < 0.001


def test_the_canary_takes_some_time() -> None:
    assert 0.001 < runner.canary() < 5.0


def test_importing_the_runner_stays_thin(tmp_path: Path) -> None:
    import subprocess
    import sys

    heavy = "pandas plotly scipy libvirt pyroute2 typer rich jinja2"
    code = f"import sys, harness.campaign; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

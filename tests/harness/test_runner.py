"""The runner: failures are results, budgets end between blocks, an interrupt unwinds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import plan, runner
from harness.contract import Absent, Bench, Finding, Scenario
from harness.errors import TrialTimeout
from harness.model import Outcome, Prepared, Sample, Support, Trial
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
    return list(runner.execute(steps, opened, {scenario.name: scenario}, lambda failure: kept.append(failure.text)))


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
    done = list(runner.execute(steps, opened, scenarios, lambda failure: None, clock=lambda: float(next(ticks))))
    blocks = [trial.step.block for trial in done]
    assert max(blocks) < 5
    assert all(blocks.count(block) == 3 for block in set(blocks))


def test_settling_is_bounded() -> None:
    assert runner.settle(0.05) < 1.0


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

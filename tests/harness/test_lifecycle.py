"""What happens to a run that is interrupted, killed, resumed, or not alone. Real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import cgroups, store
from harness.model import Outcome

pytestmark = pytest.mark.machine

WORDS = ["run", "quick", "--runtime", "native,container", "--scenario", "boot,cpu", "--blocks", "4", "--seed", "5"]


@contextmanager
def running(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        env={**os.environ, "TARE_HOME": str(home), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def tare(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TARE_HOME": str(home), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "harness", *words], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def wait_for_trials(process: subprocess.Popen[str], count: int) -> None:
    """Reads progress until so many trials have ended: an event, not a delay."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"[{count}/"):
            return
    raise AssertionError("the run ended before it was interrupted")


def only_run(home: Path) -> Path:
    (folder,) = (home / "runs").iterdir()
    return folder


def left_over(folder: Path) -> dict[str, cgroups.Cgroup]:
    return cgroups.leftovers(f"tare-{folder.name}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_measured_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, *WORDS) as process:
        wait_for_trials(process, 7)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    folder = only_run(tmp_path)
    assert f"--resume {folder.name}" in errors
    trials = store.read(folder).trials
    assert len(trials) >= 7
    assert all(trial.outcome is Outcome.OK for trial in trials)
    assert left_over(folder) == {}
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
def test_a_resumed_run_ends_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    with running(tmp_path, *WORDS) as process:
        wait_for_trials(process, 9)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    folder = only_run(tmp_path)
    before = tuple(store.read(folder).trials)
    done = tare(tmp_path, "run", "--resume", folder.name)
    assert done.returncode == 0, done.stderr
    trials = store.read(folder).trials
    assert trials[: len(before)] == before
    keys = [(trial.step.block, trial.step.position) for trial in trials if trial.step.warmup or not trial.step.attempt]
    warm, measured = [(0, position) for position in range(6)], [(b, p) for b in range(1, 5) for p in range(6)]
    assert keys == [*warm, *measured[: len(before) - 6], *warm, *measured[len(before) - 6 :]]


def test_after_kill_9_sweep_brings_the_host_back(tmp_path: Path) -> None:
    foreign = cgroups.Cgroup.create("tarelike-foreign", cgroups.Limits())
    try:
        with running(tmp_path, *WORDS) as process:
            wait_for_trials(process, 7)
            process.kill()
            process.communicate(timeout=30)
        folder = only_run(tmp_path)
        assert len(store.read(folder).trials) >= 7
        assert list((tmp_path / "scratch").iterdir()) != []
        done = tare(tmp_path, "sweep")
        assert done.returncode == 0, done.stderr
        assert left_over(folder) == {}
        assert list((tmp_path / "scratch").iterdir()) == []
        assert all(path.exists() for path in foreign.paths.values())
        assert folder.name not in tare(tmp_path, "sweep").stdout
    finally:
        foreign.remove()


@pytest.mark.slow
def test_sweep_leaves_a_living_run_alone(tmp_path: Path) -> None:
    with running(tmp_path, *WORDS) as process:
        wait_for_trials(process, 3)
        assert tare(tmp_path, "sweep").returncode == 0
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(trial.outcome is Outcome.OK for trial in store.read(only_run(tmp_path)).trials)


@pytest.mark.slow
def test_a_second_run_says_for_whom_it_waits_and_then_runs(tmp_path: Path) -> None:
    first_home, second_home = tmp_path / "first", tmp_path / "second"
    with running(first_home, *WORDS) as first:
        wait_for_trials(first, 3)
        with running(second_home, *WORDS[:3], "native", "--scenario", "boot", "--blocks", "1") as second:
            assert second.stderr is not None
            assert only_run(first_home).name in second.stderr.readline()
            first.communicate(timeout=60)
            second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    first_ended = max(trial.started_at for trial in store.read(only_run(first_home)).trials)
    assert min(trial.started_at for trial in store.read(only_run(second_home)).trials) >= first_ended


@pytest.mark.slow
def test_a_box_killed_from_outside_is_a_failed_trial_and_exit_3(tmp_path: Path) -> None:
    words = ["run", "quick", "--runtime", "native", "--scenario", "cpu", "--blocks", "3"]
    with running(tmp_path, *words) as process:
        wait_for_trials(process, 2)
        victim = wait_for_child(process.pid)
        os.kill(victim, signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == 3
    trials = store.read(only_run(tmp_path)).trials
    failed = [trial for trial in trials if trial.outcome is Outcome.FAILED]
    assert len(failed) == 1
    assert not failed[0].samples
    assert "ended unexpectedly" in failed[0].reason
    assert list((only_run(tmp_path) / "logs").iterdir())


def wait_for_child(pid: int) -> int:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
    raise AssertionError("no box was started")


def test_results_hold_what_a_reader_needs(tmp_path: Path) -> None:
    assert tare(tmp_path, *WORDS[:3], "native", "--scenario", "boot", "--blocks", "1").returncode == 0
    header = json.loads((only_run(tmp_path) / "run.json").read_text())
    for key in ("host", "supports", "images", "scenarios", "config", "seed", "prepared", "documents", "command"):
        assert header[key], key

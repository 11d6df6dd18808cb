"""The plug-in as its users meet it: a pytest of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.model import Outcome, Results, Unit
from harness.pytest_plugin import Clock, replays
from tests.reports import golden as made
from tests.reports import planted
from tests.test_docs import DOCS, block

TWO = "def test_tare(tare_replay):\n    assert tare_replay.values\n"
START = """
def test_start(benchmark, tare_runtime):
    def start():
        with tare_runtime.start() as box:
            assert box.run(["true"], 10).exit_code == 0
    benchmark.pedantic(start, rounds=2)
"""


def run_pytest(folder: Path, *words: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "-W", "error", *words]
    environment = os.environ | {"TARE_HOME": str(home or folder / "home")}
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def benchmarks(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text())["benchmarks"]
    return found


@pytest.fixture
def golden_home(tmp_path: Path) -> tuple[Path, Results]:
    """A home whose only run is the golden one."""
    results = made.golden()
    folder = tmp_path / "home" / "runs" / results.run.id
    folder.mkdir(parents=True)
    for name, content in planted.files(results).items():
        (folder / name).write_bytes(content)
    return tmp_path / "home", results


def test_a_run_is_replayed_to_the_last_bit(tmp_path: Path, golden_home: tuple[Path, Results]) -> None:
    home, results = golden_home
    (tmp_path / "test_replay.py").write_text(TWO)
    done = run_pytest(tmp_path, "--tare-replay", "latest", "--benchmark-json=out.json", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = {m.name for s in results.run.scenarios for m in s.metrics if m.unit is Unit.SECONDS}
    expected: dict[tuple[str, str], list[float]] = {}
    for trial in results.trials:
        cell = trial.step.cell
        if trial.outcome is Outcome.OK and not trial.step.warmup and not cell.twin:
            for sample in trial.samples:
                if sample.metric in seconds:
                    expected.setdefault((sample.metric, cell.runtime), []).append(sample.value)
    found = {}
    for one in benchmarks(tmp_path / "out.json"):
        metric, runtime = re.match(r"test_tare\[([\w.]+)-([\w]+)", one["name"]).groups()  # type: ignore[union-attr]
        found[metric, runtime] = one["stats"]["data"]
        assert one["group"].startswith(metric)
        assert ("(emulation)" in one["name"]) is (runtime == "tcg")
        assert one["extra_info"]["tare"]["run"] == results.run.id
    assert found == expected


def test_without_a_run_the_replay_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "test_replay.py").write_text(TWO)
    done = run_pytest(tmp_path)
    assert done.returncode == 0 and "--tare-replay RUN" in done.stdout


def test_a_run_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "test_replay.py").write_text(TWO)
    done = run_pytest(tmp_path, "--tare-replay", "nothing")
    assert done.returncode == 2 and "there are no runs yet" in done.stdout + done.stderr


def test_a_replay_of_nothing_measured_has_no_benchmark() -> None:
    run = made.golden().run
    assert replays(Results(run=run, trials=())) == []


def test_the_clock_shows_what_it_is_told() -> None:
    clock = Clock()
    clock.now_s = 0.1 + 0.2
    assert clock() - 0.0 == 0.30000000000000004


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_readme_shows_the_same_example(language: str) -> None:
    assert f"```{language}\n{block('pytest.md', language)}```" in (DOCS.parent / "README.md").read_text()


@pytest.mark.machine
@pytest.mark.slow
def test_the_example_of_the_documents_works_as_pasted(tmp_path: Path) -> None:
    (tmp_path / "test_boxes.py").write_text(block("pytest.md", "python"))
    words = block("pytest.md", "sh").split()
    assert words[0] == "pytest"
    done = run_pytest(tmp_path, *words[1:], "--benchmark-json=out.json", "--benchmark-max-time=0.2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["name"]: one for one in benchmarks(tmp_path / "out.json")}
    assert set(found) == {"test_compression[native]", "test_compression[container]"}
    for name, one in found.items():
        about = one["extra_info"]["tare"]
        assert f"[{about['runtime']}]" in name and about["emulated"] is False and about["image"].startswith("sha256:")
    machine = json.loads((tmp_path / "out.json").read_text())["machine_info"]
    assert machine["tare"]["kernel"] == os.uname().release


@pytest.mark.machine
def test_boxes_are_started_by_a_test_and_gone_after_it(tmp_path: Path) -> None:
    (tmp_path / "test_start.py").write_text(START)
    done = run_pytest(tmp_path, "--tare-runtime", "native", "--benchmark-json=out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(benchmarks(tmp_path / "out.json")[0]["stats"]["data"]) == 2
    assert list((tmp_path / "home" / "scratch").iterdir()) == []


def test_a_runtime_nobody_has_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "test_start.py").write_text(START)
    done = run_pytest(tmp_path, "--tare-runtime", "nativ")
    assert done.returncode == 2 and "did you mean 'native'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("word", "said"), [("tcg.uri=x", "none of the runtimes"), ("uri=x", "is not RUNTIME.NAME=VALUE")]
)
def test_an_option_that_nobody_would_read_is_a_usage_error(word: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "test_start.py").write_text(START)
    done = run_pytest(tmp_path, "--tare-runtime", "native", f"--tare-option={word}")
    assert done.returncode == 2 and said in done.stdout + done.stderr


def test_other_peoples_sessions_pay_nothing() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import harness.pytest_plugin; "
        "print(*sorted(name for name in set(sys.modules) - before if '.' not in name or name.startswith('harness')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DOCS.parent)
    assert done.stdout.split() == ["harness", "harness.pytest_plugin"]

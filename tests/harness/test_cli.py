"""The command line as a person meets it: a mistake is one clear line and a remedy, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.model import SCHEMA


def tare(home: Path, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        env={**os.environ, "TARE_HOME": str(home), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def bad_suite(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text('scenarios = ["boot"]\nruntimes = ["native"]\nblocks = "many"\n')
    return path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "quik"], "did you mean 'quick'?"),
        (["run", "quick", "--runtime", "nativ"], "did you mean 'native'?"),
        (["run", "quick", "--scenario", "boots"], "did you mean 'boot'?"),
        (["run", "quick", "--runtime", "native", "--image", "tyni"], "tare image build tyni"),
        (["run", "quick", "--option", "nonsense"], "RUNTIME.NAME=VALUE"),
        (["run", "quick", "--runtime", "native", "--kernel", "/etc/passwd"], "is not a kernel"),
        (["run", "missing.toml"], "cannot read the suite"),
        (["run"], "no suite was named"),
        (["run", "quick", "--report", "/nowhere/at/all.html"], "cannot write"),
        (["run", "quick", "--report", "report.xyz"], "no report makes .xyz files"),
        (["plan", "quick", "--runtime", "container", "-o", "container.foo=1"], "container has no option 'foo'"),
        (["plan", "quick", "--runtime", "tcg", "-o", "tcg.url=x"], "it has tcg.uri (a libvirt URI"),
        (["plan", "quick", "--runtime", "native", "-o", "tcg.uri=x"], "is for tcg, which is not asked for"),
        (["run", "--resume", "nothing"], "there are no runs yet"),
        (["run", "quick", "--resume", "nothing"], "leave out everything"),
        (["run", "quick", "--option", "tgc.uri=x"], "did you mean 'tcg'?"),
        (["report", "nothing"], "there are no runs yet"),
        (["report", "--as", "htm"], "there are no runs yet"),
        (["list", "runtime"], "did you mean 'runtimes'?"),
        (["image", "build", "tini"], "did you mean 'tiny'?"),
    ],
)
def test_a_mistake_is_two_lines_and_exit_2(tmp_path: Path, words: list[str], says: str) -> None:
    done = tare(tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True


def test_a_malformed_suite_names_the_line(tmp_path: Path, bad_suite: Path) -> None:
    assert "line 3" in tare(tmp_path, "run", str(bad_suite)).stderr
    bad_suite.write_text("scenarios = [\n= 3")
    assert "line 2" in tare(tmp_path, "run", str(bad_suite)).stderr
    bad_suite.write_text('scenarios = ["boot"]\nruntimes = ["native"]\nblok = 3\n')
    assert "blok" in tare(tmp_path, "run", str(bad_suite)).stderr


def test_a_home_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = tare(tmp_path / "file" / "home", "list")
    assert done.returncode == 2
    assert "TARE_HOME" in done.stderr


def test_lists_and_plans_go_to_stdout(tmp_path: Path) -> None:
    assert "boot.ready" in tare(tmp_path, "list", "scenarios").stdout
    done = tare(tmp_path, "plan", "quick", "--runtime", "native", "--blocks", "2", "--seed", "1")
    assert done.returncode == 0
    *steps, sentence = done.stdout.splitlines()
    assert len(steps) == 10 * 3
    assert sentence.startswith("30 trials, no estimate for boot, ")
    assert done.stdout == tare(tmp_path, "plan", "quick", "--runtime", "native", "--blocks", "2", "--seed", "1").stdout


def test_a_native_run_is_measured_stored_and_reported(tmp_path: Path) -> None:
    csv = tmp_path / "out.csv"
    words = ["--runtime", "native", "--scenario", "boot,disk", "--blocks", "2", "--seed", "7", "--report", str(csv)]
    done = tare(tmp_path, "run", "quick", *words)
    assert done.returncode == 0, done.stderr
    assert "boot.ready" in done.stdout
    assert "boot.ready" in csv.read_text()
    (folder,) = (tmp_path / "runs").iterdir()
    header = json.loads((folder / "run.json").read_text())
    assert header["seed"] == 7
    assert header["schema"] == SCHEMA
    assert header["digests_inside"]["native"] == header["images"]["tiny"]["content_digest"]
    assert len((folder / "trials.jsonl").read_text().splitlines()) == 4 * 3
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "boot.ready" in tare(tmp_path, "report").stdout


@pytest.mark.slow
def test_check_json_has_the_documented_shape(tmp_path: Path) -> None:
    done = tare(tmp_path, "check", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["host"]["kernel"] == os.uname().release
    assert {"native", "container", "kvm", "tcg"} <= {one["name"] for one in document["runtimes"]}
    for one in document["runtimes"]:
        assert {"name", "available", "reason", "hint", "version", "features"} <= set(one)
        assert one["available"] or one["reason"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("blocks = 0", "blocks"),
        ("warmup_blocks = -1", "warmup_blocks"),
        ("memory_bytes = -5", "memory_bytes"),
        ("trial_timeout_s = 0.0", "trial_timeout_s"),
        ('reference = "natve"', "did you mean 'native'?"),
        ('[grid.bot]\nx = ["1"]', "did you mean 'boot'?"),
    ],
)
def test_a_suite_that_asks_for_nonsense_is_refused(tmp_path: Path, line: str, says: str) -> None:
    suite = tmp_path / "odd.toml"
    suite.write_text(f'scenarios = ["boot"]\nruntimes = ["native"]\n{line}\n')
    done = tare(tmp_path, "run", str(suite))
    assert done.returncode == 2
    assert says in done.stderr


def test_a_suite_without_runtimes_is_refused(tmp_path: Path) -> None:
    suite = tmp_path / "empty.toml"
    suite.write_text('scenarios = ["boot"]\nruntimes = []\n')
    assert tare(tmp_path, "run", str(suite)).returncode == 2


def test_a_run_that_fails_leaves_no_empty_report(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert tare(tmp_path, "run", "quick", "--image", "tinny", "--report", str(report)).returncode == 2
    assert not report.exists()


def test_nothing_measured_is_exit_2_and_says_so(tmp_path: Path) -> None:
    done = tare(tmp_path, "run", "quick", "--runtime", "kvm", "--scenario", "boot", "--kernel", "/etc/passwd")
    assert done.returncode == 2

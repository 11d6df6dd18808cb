"""Results folders → documents, through the command line: index, several runs, bytes, a damaged run among good ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.reports import golden as made
from tests.reports import planted


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two runs that were measured on different kernels, and one that cannot be read."""
    results = made.golden()
    for name, kernel in (("20260102-030000-golden", "6.1"), ("20260103-030000-other", "6.2")):
        run = msgspec.structs.replace(results.run, id=name, host=results.run.host | {"kernel": kernel})
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for file, content in planted.files(msgspec.structs.replace(results, run=run)).items():
            (folder / file).write_bytes(content)
    damaged = tmp_path / "runs" / "20260104-030000-damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    return tmp_path


def tare(home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"TARE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "harness", *words], cwd=home, env=environment, capture_output=True, check=False
    )


def test_runs_are_listed_with_suite_host_size_and_outcome(home: Path) -> None:
    lines = tare(home, "list", "runs").stdout.decode().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "20260102-030000-golden  2026-01-02T03:00:00Z  standard   Planted CPU <2 GHz>, Linux 6.1"
    )
    assert lines[0].endswith("12 blocks, 190 ok, 4 skipped, 1 failed, 1 timeout")
    assert "20260104-030000-damaged  cannot be read" in lines[2]


def test_the_index_has_all_runs_that_can_be_read_and_names_the_other(home: Path) -> None:
    done = tare(home, "report", "--index", "-o", "index.html")
    assert done.returncode == 0 and b"left out" in done.stderr and b"damaged" in done.stderr
    page = (home / "index.html").read_text()
    assert "20260102-030000-golden" in page and "20260103-030000-other" in page and "differ in kernel" in page


def test_an_index_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    done = tare(tmp_path, "report", "--index")
    assert done.returncode == 2 and b"there are no runs to show" in done.stderr


def test_several_runs_stand_on_one_page_with_what_may_not_be_compared(home: Path) -> None:
    assert tare(home, "report", "golden", "other", "-o", "both.html").returncode == 0
    page = (home / "both.html").read_text()
    assert "differ in kernel: their numbers are not comparable" in page
    assert 'id="beside"' in page and 'id="20260103-030000-other.boot"' in page


def test_bytes_go_through_a_pipe_whole(home: Path) -> None:
    done = tare(home, "report", "golden", "--as", "parquet")
    assert done.returncode == 0 and done.stdout[:4] == done.stdout[-4:] == b"PAR1"
    assert tare(home, "report", "golden", "-o", "table.parquet").returncode == 0
    assert (home / "table.parquet").read_bytes() == done.stdout

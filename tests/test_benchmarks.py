"""The frame of the benchmarks; what they measure is no test."""

from __future__ import annotations

import importlib
import json
import types
from pathlib import Path

import pytest

from harness.errors import Unsupported
from tests.benchmarks import __main__ as runner
from tests.benchmarks import frame, main
from tests.benchmarks.frame import Row


def quick() -> Row:
    return Row("quick", "s", (3.0, 1.0, 2.0), at_most=2.0)


def slow() -> Row:
    return Row("slow", "s", (9.0,), at_most=2.0)


def curious() -> Row:
    return Row("curious", "MiB", (7.0,))


def impossible() -> Row:
    raise Unsupported("no such machine here")


def test_a_row_is_judged_by_its_median() -> None:
    assert [row.verdict for row in frame.measure([quick, slow, curious, impossible])] == [
        "met",
        "missed",
        "—",
        "missed",
    ]


@pytest.mark.parametrize(("value", "verdict"), [(0.5, "missed"), (0.95, "met"), (1.0, "missed")])
def test_a_row_may_have_a_bound_on_either_side(value: float, verdict: str) -> None:
    row = Row("coverage", "", (value,), at_least=0.93, at_most=0.99)
    assert row.verdict == verdict
    assert "≥ 0.93 ≤ 0.99" in frame.table([row])


def test_the_table_says_what_was_measured() -> None:
    lines = frame.table(frame.measure([quick, slow, curious, impossible])).splitlines()
    assert lines[0].split() == ["what", "measured", "target", "verdict", "n", "spread"]
    assert lines[1].split() == ["quick", "2", "s", "≤", "2", "s", "met", "3", "1", "…", "3"]
    assert lines[3].split() == ["curious", "7", "MiB", "—", "—", "1", "—"]
    assert "no such machine here" in lines[4]


@pytest.mark.parametrize(
    ("rows", "code", "last"),
    [
        ((quick, curious), 0, "1 of 1 targets met"),
        ((quick, slow), 1, "1 of 2 targets met"),
        ((quick, impossible), 1, "1 of 2 targets met"),
    ],
)
def test_a_miss_decides_the_exit_code(
    rows: tuple[frame.Bench, ...],
    code: int,
    last: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "ROWS", rows)
    file = tmp_path / "deep" / "main.json"
    assert runner.main(["main", "--json", str(file)]) == code
    assert capsys.readouterr().out.splitlines()[-1] == last
    data = json.loads(file.read_text())
    assert data["host"]["kernel"] and data["rows"][0]["values"] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("name", runner.names())
def test_a_benchmark_has_rows_of_its_own(name: str) -> None:
    rows = importlib.import_module(f"tests.benchmarks.{name}").ROWS
    assert rows and all(isinstance(bench, types.FunctionType) for bench in rows)
    assert len({bench.__name__ for bench in rows}) == len(rows)

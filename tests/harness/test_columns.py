"""Columns say what the trials say, wherever they come from."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from harness import store
from harness.columns import Columns, Words, columns_of, text_of
from harness.model import Results

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="module")
def golden() -> Results:
    return store.read(GOLDEN)


def _values(columns: Columns) -> dict[str, object]:
    """Every column, to the last bit."""
    found: dict[str, object] = {"cells": columns.cells}
    for name, column in vars(columns).items():
        if isinstance(column, Words):
            found[name] = (column.codes.tobytes(), column.words)
        elif isinstance(column, array):
            found[name] = column.tobytes()
    return found


def test_a_file_gives_the_columns_of_its_objects_bit_for_bit() -> None:
    results = store.read(GOLDEN)
    assert _values(columns_of(results.trials)) == _values(Columns.of(tuple(results.trials)))


def test_nothing_depends_on_how_many_trials_come_at_a_time(golden: Results) -> None:
    whole, piecemeal = Columns.of(golden.trials), Columns()
    for trial in golden.trials:
        piecemeal.extend([trial])
    assert _values(piecemeal) == _values(whole)


def test_columns_are_what_the_trials_hold(golden: Results) -> None:
    columns = Columns.of(golden.trials)
    assert len(columns) == len(golden.trials)
    for row, trial in enumerate(golden.trials):
        assert columns.cells[columns.cell[row]] == trial.step.cell
        assert columns.outcome.words[columns.outcome.codes[row]] == trial.outcome
        assert columns.reason.words[columns.reason.codes[row]] == (trial.reason or trial.step.skip)
    samples = [(row, s.metric, s.value) for row, trial in enumerate(golden.trials) for s in trial.samples]
    metrics = [columns.sample_metric.words[code] for code in columns.sample_metric.codes]
    assert list(zip(columns.sample_trial, metrics, columns.value, strict=True)) == samples


def test_parameters_are_one_stable_string() -> None:
    assert text_of({"size": "small", "cache": "cold"}) == "cache=cold size=small"
    assert text_of({}) == ""

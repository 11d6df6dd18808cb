"""The golden run: what is on disk is what the generator plants."""

from __future__ import annotations

from harness import store
from tests.reports.planted import GOLDEN, files, golden


def test_the_files_are_what_the_generator_plants() -> None:
    for name, content in files(golden()).items():
        assert (GOLDEN / name).read_bytes() == content


def test_they_read_back() -> None:
    results = store.read(GOLDEN)
    assert (results.run, results.trials) == (golden().run, golden().trials)

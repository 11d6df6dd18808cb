"""The golden run, and what each report makes of it, byte for byte.

After a wanted change: `python -m tests.reports.planted` writes the files anew; read the difference before committing.
"""

from __future__ import annotations

import pytest

from harness.model import Results
from reports.csv import csv
from reports.text import text
from tests.reports import planted
from tests.reports.planted import GOLDEN


def test_the_files_are_what_the_generator_plants() -> None:
    for name, content in planted.files(planted.golden()).items():
        assert (GOLDEN / name).read_bytes() == content


def test_they_read_back(golden: Results) -> None:
    assert (golden.run, golden.trials) == (planted.golden().run, planted.golden().trials)


@pytest.mark.parametrize(("report", "file"), [(text, "report.txt"), (csv, "samples.csv")])
def test_the_report_is_the_golden_one(report: planted.Renders, file: str, golden: Results) -> None:
    assert report.render([golden]) == (GOLDEN / file).read_text()

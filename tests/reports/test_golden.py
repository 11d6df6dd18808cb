"""The golden run, and what each report makes of it, byte for byte.

After a wanted change: `python -m tests.reports.golden` writes the files anew; read the difference before committing.
"""

from __future__ import annotations

import pytest

from harness.contract import Report
from harness.model import Results
from reports.csv import csv
from reports.text import text
from tests.reports import golden as made
from tests.reports.golden import GOLDEN
from tests.reports.planted import files


def test_the_files_are_what_the_generator_plants() -> None:
    for name, content in files(made.golden()).items():
        assert (GOLDEN / name).read_bytes() == content


def test_they_read_back(golden: Results) -> None:
    assert (golden.run, golden.trials) == (made.golden().run, made.golden().trials)


@pytest.mark.parametrize(("report", "file"), [(text, "report.txt"), (csv, "samples.csv")])
def test_the_report_is_the_golden_one(report: Report, file: str, golden: Results) -> None:
    assert report.render([golden]) == (GOLDEN / file).read_text()

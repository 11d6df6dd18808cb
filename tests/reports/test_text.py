"""The terminal's report."""

from __future__ import annotations

from harness.contract import Report
from harness.model import Results
from reports.csv import csv
from reports.html import html
from reports.text import WIDTH, text
from tests.reports.planted import Planting, plant

REPORTS: list[Report] = [text, csv, html]


def test_no_line_is_wider_than_a_terminal(golden: Results) -> None:
    for results in (golden, plant(Planting(ratios={"a-runtime-with-a-rather-long-name": 3.0}, blocks=3))):
        assert max(map(len, text.render([results]).splitlines())) <= WIDTH


def test_a_table_row_by_hand() -> None:
    rendered = text.render([plant(Planting(ratios={"box": 2.0}, sigma=0.0))])
    (row,) = [line for line in rendered.splitlines() if line.startswith("  box")]
    assert row.split() == ["box", "20", "2.00", "s", "2.00–2.00", "s", "2.0×", "2.0–2.0×", "WORSE"]
    assert row.index("WORSE") == 77  # one column for all verdicts


def test_emulation_is_marked_in_every_row_and_sentence(golden: Results) -> None:
    lines = [line for line in text.render([golden]).splitlines() if line.startswith(("  tcg", "* "))]
    assert all("(emulation)" in line for line in lines if "tcg" in line)


def test_runs_stand_one_after_the_other() -> None:
    rendered = text.render([plant(Planting(ratios={"box": 2.0}, seed=seed)) for seed in (1, 2)])
    assert rendered.index("planted-1") < rendered.index("planted-2")


def test_an_empty_run_says_what_it_is() -> None:
    rendered = text.render([Results(run=plant(Planting(ratios={})).run, trials=())])
    assert rendered.startswith("tare 0.1.0 · planted-1")
    assert "Only 0 measured blocks" in rendered


def test_all_reports_have_a_name_and_a_suffix() -> None:
    assert [(report.name, report.suffix) for report in REPORTS] == [
        ("text", ".txt"),
        ("csv", ".csv"),
        ("html", ".html"),
    ]

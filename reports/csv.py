"""The raw data as one flat table: one row per sample, base units, empty where a trial gave none and why in `reason`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model import Results
from reports import tidy


@dataclass(frozen=True, slots=True)
class CsvReport:
    """Comma-separated values with a header, for spreadsheets and other programs."""

    name: str = "csv"
    suffix: str = ".csv"

    def render(self, results: Sequence[Results]) -> str:
        return table(tidy.read(results))


def table(data: tidy.Tidy) -> str:
    return tidy.everything(data).to_csv(index=False, lineterminator="\n")


csv = CsvReport()

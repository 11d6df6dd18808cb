"""Results for a terminal: plain aligned text of at most a hundred columns, verdicts beside the numbers they judge."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.model import Better, Results, Run, ScenarioFacts
from reports.analysis import Analysis, analyse
from reports.answers import Answer
from reports.caveats import Caveat, Level
from reports.tables import Row, rows, unmeasured

WIDTH = 100
_NAME = 20
_NUMBERS = (6, 10, 16, 10, 14)
_HEADER = ("", "n", "median", "95 % interval", "ratio", "interval", "verdict")
_MARKS = {Level.ERROR: "!", Level.DOUBT: "?", Level.NOTE: "·"}
_BETTER = {Better.LOWER: "lower is better", Better.HIGHER: "higher is better", Better.NEITHER: "neither way is better"}


@dataclass(frozen=True, slots=True)
class TextReport:
    """Tables with a verdict a row, what they amount to, and the doubts about it."""

    name: str = "text"
    suffix: str = ".txt"

    def render(self, results: Sequence[Results]) -> str:
        analysis = analyse(results)
        lines = [line for run in analysis.tidy.runs for line in (*_run(analysis, run), "")]
        lines += [line for answer in analysis.answers for line in _wrapped(_said(analysis, answer), "* ")]
        lines += ["", *(line for caveat in analysis.caveats for line in _caveat(caveat))]
        return "\n".join(line.rstrip() for line in lines).strip() + "\n"


def _said(analysis: Analysis, answer: Answer) -> str:
    return f"{answer.run}: {answer.text}" if len(analysis.tidy.runs) > 1 else answer.text


def _run(analysis: Analysis, run: Run) -> Iterator[str]:
    config, host = run.config, run.host
    yield from _wrapped(
        f"tare {run.version} · {run.id} · suite {config.suite} · image {config.image} · seed {run.seed}"
    )
    yield from _wrapped(f"{host.get('cpu_model', 'unknown CPU')} · Linux {host.get('kernel', 'of unknown version')}")
    for scenario in run.scenarios:
        yield from _scenario(analysis, run, scenario)


def _scenario(analysis: Analysis, run: Run, scenario: ScenarioFacts) -> Iterator[str]:
    tables = [(metric, rows(analysis, run, scenario, metric)) for metric in scenario.metrics]
    if not any(found for _, found in tables):
        return
    yield ""
    yield from _wrapped(f"{scenario.name}: {scenario.asks}")
    yield _line(_HEADER)
    for metric, found in tables:
        if found:
            yield f"{metric.name}, {_BETTER[metric.better]}"
            yield from _rows(found)


def _rows(found: Sequence[Row]) -> Iterator[str]:
    """The boxes with a number, then the others by reason. What ran nowhere is said once, among the doubts."""
    for row in found:
        if row.summary is not None:
            yield _line((f"  {row.box}", row.n, row.median, row.interval, row.ratio, row.ratio_interval, row.verdict))
    for why, boxes in unmeasured([row for row in found if row.absent]).items():
        yield from _wrapped(f"{', '.join(boxes)}: {why}", "  – ")


def _line(cells: Sequence[str]) -> str:
    name, *numbers, verdict = cells
    head = name if len(name) < _NAME else f"{name[: _NAME - 2]}…"
    padded = "".join(f"{cell:>{width}}" for cell, width in zip(numbers, _NUMBERS, strict=True))
    return f"{head:<{_NAME}}{padded} {verdict}".rstrip()


def _caveat(caveat: Caveat) -> list[str]:
    return _wrapped(f"{caveat.text} {caveat.remedy}", f"{_MARKS[caveat.level]} ")


def _wrapped(paragraph: str, mark: str = "") -> list[str]:
    return textwrap.wrap(
        paragraph, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False
    )


text = TextReport()

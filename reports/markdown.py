"""Results as a comment on a pull request: the sentences first, one verdict table, the rest folded away.

GitHub reads HTML and pipes in such texts, so whatever comes from a run is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from harness.model import Results, Run, ScenarioFacts
from reports.analysis import Analysis, analyse
from reports.answers import headline
from reports.blanks import nothing
from reports.caveats import Level
from reports.claims import Claim
from reports.tables import Row, rows, unmeasured

_HEAD = ("metric", "box", "n", "median", "95 % interval", "ratio", "95 % interval", "verdict")
_LEVELS = {Level.ERROR: "Error", Level.DOUBT: "Doubt", Level.NOTE: "Note"}


@dataclass(frozen=True, slots=True)
class MarkdownReport:
    """GitHub-flavoured, for a pull request."""

    name: str = "markdown"
    suffix: str = ".md"

    def render(self, results: Sequence[Results]) -> str:
        analysis = analyse(results)
        lines = ["## What the box costs", ""]
        several = len(analysis.tidy.runs) > 1
        said = [f"{answer.run}: {answer.text}" if several else answer.text for answer in analysis.answers]
        lines += [f"- {plain(sentence)}" for sentence in said] or [plain(nothing(analysis))]
        for run in analysis.tidy.runs:
            lines += ["", *_run(analysis, run)]
        lines += ["", *_folded("The claim, measured", _claims(analysis))]
        doubts = [f"- **{_LEVELS[c.level]}.** {plain(f'{c.text} {c.remedy}'.strip())}" for c in analysis.caveats]
        lines += ["", *_folded(f"Doubts ({len(doubts)})", doubts)] if doubts else []
        return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text that stays text: no tag, no table cell, no emphasis, no mention, no link."""
    line = " ".join(escape(text, quote=False).split())
    return re.sub(r"([\\`*_\[\]|~@#])", r"\\\1", line)


def _run(analysis: Analysis, run: Run) -> Iterator[str]:
    host = f"{run.host.get('cpu_model', 'unknown CPU')}, Linux {run.host.get('kernel', 'of unknown version')}"
    words = f"{run.id}: suite {run.config.suite}, image {run.config.image}, seed {run.seed}, {host}"
    yield from (f"**{plain(words)}**", "")
    tables = {s: [(m, rows(analysis, run, s, m)) for m in s.metrics] for s in run.scenarios}
    leading = {s: headline(s, analysis.comparisons.made) for s in run.scenarios}
    yield from _table([row for s, found in tables.items() for m, some in found if m.name in leading[s] for row in some])
    for scenario, found in tables.items():
        others = [row for _, some in found for row in some]
        if others:
            yield from ("", *_folded(f"{scenario.name}: {scenario.asks}", _scenario(scenario, others)))


def _scenario(scenario: ScenarioFacts, found: Sequence[Row]) -> Iterator[str]:
    yield from _table(found)
    for why, boxes in unmeasured(found).items():
        yield from ("", f"{plain(', '.join(boxes))}: {plain(why)}")
    yield ""
    yield from (f"- {_code(m.name)}: {plain(m.meaning)}" for m in scenario.metrics)


def _table(found: Sequence[Row]) -> Iterator[str]:
    yield _cells(_HEAD)
    yield _cells(("---", "---", *["---:"] * 5, "---"))
    for row in found:
        if row.summary:
            numbers = (row.n, row.median, row.interval, row.ratio, row.ratio_interval)
            verdict = f"{row.mark} {row.verdict}".strip()
            yield _cells((_code(row.metric.name), *map(plain, (row.box, *numbers, verdict))))


def _claims(analysis: Analysis) -> Iterator[str]:
    yield _cells(("property", "container", "virtual machine"))
    yield _cells(["---"] * 3)
    for row in analysis.claims:
        yield _cells((plain(row.property), _claim(row.container), _claim(row.machine)))


def _claim(claim: Claim) -> str:
    measured = "".join(f"<br>{plain(line)}" for line in claim.measured)
    standing = f"“{plain(claim.claim)}” **{claim.standing}**" if claim.standing else plain(claim.claim)
    return f"{standing} {plain(claim.note)}".rstrip() + measured


def _code(name: str) -> str:
    """Between backticks only a backtick and a pipe are not themselves."""
    return f"`{name.replace('`', '').replace('|', '')}`"


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _folded(title: str, lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    yield from (f"<details><summary>{escape(title)}</summary>", "", *lines, "", "</details>")


markdown = MarkdownReport()

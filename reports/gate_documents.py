"""A comparison of two sides as a document: for a terminal, for a pull request, for a program."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.differences import Difference
from harness.gate import Question
from harness.model import Metric
from reports import units
from reports.compare import Comparison
from reports.verdicts import Verdict

WIDTH = 100
_HEADER = ("", "old", "new", "new ÷ old", "95 % interval", "limit", "verdict")
MARKS = {Verdict.WORSE: "▲", Verdict.BETTER: "▼", Verdict.SAME: "=", Verdict.INCONCLUSIVE: "?"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One metric of one cell on both sides. With a `problem` there is no verdict."""

    key: tuple[str, str, str, str, str]
    metric: Metric
    gated: bool
    limit: str
    old: float = math.nan
    new: float = math.nan
    comparison: Comparison | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        _, runtime, params, metric, labels = self.key
        return " ".join(part for part in (metric, runtime, params, labels) if part)

    @property
    def cells(self) -> tuple[str, ...]:
        values = (units.value(self.old, self.metric.unit), units.value(self.new, self.metric.unit))
        c = self.comparison
        if c is None:
            return (self.name, *values, "", "", self.limit, self.problem)
        effect = c.effect
        if effect.relative:
            shown = units.ratio(effect.estimate), units.ratio_interval(effect.low, effect.high)
        else:
            unit = self.metric.unit
            shown = units.value(effect.estimate, unit), units.interval(effect.low, effect.high, unit)
        interval = "exact" if c.exact and c.verdict is not Verdict.VARIES else shown[1]
        return (self.name, *values, shown[0], interval, self.limit, self.verdict)

    @property
    def verdict(self) -> str:
        c = self.comparison
        if c is None:
            return ""
        if c.verdict is Verdict.INCONCLUSIVE:
            return f"{c.verdict}, {f'n ≈ {c.needed} would decide' if c.needed else 'over 1000 blocks'}"
        return str(c.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """All that a document may say. `refused`: the sides are not comparable, and there are no rows."""

    question: Question
    differences: Sequence[Difference]
    rows: Sequence[GateRow] = ()
    refused: bool = False
    nothing_common: bool = False

    @property
    def title(self) -> str:
        return f"{self.question.old.label} (old) → {self.question.new.label} (new)"

    @property
    def conclusion(self) -> str:
        if self.nothing_common:
            return "Not comparable: the two have no cell in common."
        if self.refused:
            return "Not comparable: no verdicts. Say --force to compare nevertheless."
        forced = [one.what for one in self.differences if one.decides]
        counts = {verdict: sum(_has(row, verdict) for row in self.rows) for verdict in Verdict}
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        lost = sum(bool(row.problem) for row in self.rows)
        parts = [said, f"{lost} without a verdict" if lost else ""]
        gated = sum(row.gated for row in self.rows)
        failed = [row.name for row in self.rows if row.gated and _has(row, Verdict.WORSE)]
        parts.append(f"{gated} gated" + (f", beyond the limit: {'; '.join(failed)}" if failed else "") if gated else "")
        lead = f"Compared although these differ: {', '.join(forced)}. " if forced else ""
        return f"{lead}{' · '.join(part for part in parts if part)}."


def _has(row: GateRow, verdict: Verdict) -> bool:
    return row.comparison is not None and row.comparison.verdict is verdict


def text(verdicts: Verdicts) -> str:
    lines = [verdicts.title, ""]
    if verdicts.differences:
        lines.append("What differs")
        for one in verdicts.differences:
            line = f"{one.what}: {one.old} → {one.new}"
            lines += textwrap.wrap(line, WIDTH, initial_indent="! " if one.decides else "· ", subsequent_indent="  ")
        lines.append("")
    if verdicts.rows:
        table = [_HEADER, *(row.cells for row in verdicts.rows)]
        widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEADER))]
        lines += [_aligned(cells, widths) for cells in table] + [""]
    return "\n".join([*lines, verdicts.conclusion])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, limit, verdict = cells
    padded = "  ".join(cell.rjust(width) for cell, width in zip(numbers, widths[1:5], strict=True))
    return f"{name.ljust(widths[0])}  {padded}  {limit.ljust(widths[5])}  {verdict}".rstrip()


def markdown(verdicts: Verdicts) -> str:
    """For a pull request: what matters first, the rest folded away."""
    lines = [f"### {_escaped(verdicts.title)}", "", f"**{_escaped(verdicts.conclusion)}**", ""]
    if verdicts.differences:
        lines += ["| differs | old | new | decides |", "| --- | --- | --- | --- |"]
        lines += [_markdown_row((o.what, o.old, o.new, "yes" if o.decides else "")) for o in verdicts.differences]
        lines.append("")
    loud = [row for row in verdicts.rows if row.gated or row.problem or not _has(row, Verdict.SAME)]
    quiet = [row for row in verdicts.rows if row not in loud]
    lines += _markdown_table(loud)
    if quiet:
        lines += ["<details><summary>SAME</summary>", "", *_markdown_table(quiet), "</details>"]
    return "\n".join(lines).rstrip()


def _markdown_table(rows: Sequence[GateRow]) -> list[str]:
    if not rows:
        return []
    head = [_markdown_row(("metric", *_HEADER[1:])), "| --- " * len(_HEADER) + "|"]
    return [*head, *(_markdown_row((*row.cells[:-1], _marked(row))) for row in rows), ""]


def _marked(row: GateRow) -> str:
    mark = MARKS.get(row.comparison.verdict, "") if row.comparison else "!"
    return f"{mark} {row.verdict or row.problem}".strip()


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(word: str) -> str:
    return " ".join(word.replace("|", "\\|").replace("<", "&lt;").split())


def as_json(verdicts: Verdicts) -> str:
    document: dict[str, Any] = {
        "old": verdicts.question.old.label,
        "new": verdicts.question.new.label,
        "comparable": not verdicts.refused,
        "forced": any(one.decides for one in verdicts.differences) and not verdicts.refused,
        "differences": [
            {"what": one.what, "old": one.old, "new": one.new, "decides": one.decides} for one in verdicts.differences
        ],
        "conclusion": verdicts.conclusion,
        "rows": list(_json_rows(verdicts.rows)),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _json_rows(rows: Sequence[GateRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        scenario, runtime, params, metric, labels = row.key
        found: dict[str, Any] = {
            "scenario": scenario, "runtime": runtime, "params": params, "metric": metric, "labels": labels,
            "unit": row.metric.unit, "better": row.metric.better, "gated": row.gated, "limit": row.limit,
            "old": _number(row.old), "new": _number(row.new), "problem": row.problem,
        }  # fmt: skip
        if row.comparison:
            c = row.comparison
            found |= {
                "verdict": c.verdict.name, "n": c.n, "effect": _number(c.effect.estimate), "low": _number(c.effect.low),
                "high": _number(c.effect.high), "relative": c.effect.relative, "margin": _number(c.margin.size),
                "margin_source": c.margin.source, "p": _number(c.p), "p_holm": _number(c.p_holm), "needed": c.needed,
            }  # fmt: skip
        yield found


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


DOCUMENTS: Mapping[str, Callable[[Verdicts], str]] = {"text": text, "markdown": markdown, "json": as_json}

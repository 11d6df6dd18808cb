"""Box against box: everything that was measured of both, as ratios, better or worse by symbol and word.

Against the reference these are the comparisons of the whole report. Another box may take its place, so that a container
and a virtual machine can be set against each other; it has no A/A twin, so the margin is then the practical one alone.
An emulated box is never what others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from harness.model import Better, Run
from reports import page, units
from reports.analysis import Analysis
from reports.answers import Answer, answers
from reports.compare import compare
from reports.forests import forest
from reports.marks import Chart
from reports.palette import Style
from reports.tables import Row, rows
from reports.tidy import emulated, runtimes

MOST_BASES = 3
"""Boxes others are compared with, the reference among them."""
MOST_COMPARISONS = 600
"""With more of them in a report, everything is compared with the reference alone: each base costs as many again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One box against another, in one run. `rows` are what the chart cannot show too."""

    id: str
    run: Run
    base: str
    runtime: str
    box: str
    emulated: bool
    chart: Chart | None
    rows: tuple[Row, ...]
    answers: tuple[Answer, ...]


def pairs(analysis: Analysis, styles: Mapping[str, Style]) -> tuple[Pair, ...]:
    """Every box against the reference, then against the next boxes that ran on hardware; each pair once."""
    return tuple(pair for run in analysis.tidy.runs for pair in _of_run(analysis, run, styles))


def _of_run(analysis: Analysis, run: Run, styles: Mapping[str, Style]) -> Iterator[Pair]:
    measured = set(analysis.tidy.samples.loc[analysis.tidy.samples["run"] == run.id, "runtime"].unique())
    boxes = [name for name in runtimes(run) if name in measured]
    bases = [name for name in boxes if not emulated(run, name)]
    if run.config.reference not in bases:
        return
    most = MOST_BASES if len(analysis.comparisons.made) <= MOST_COMPARISONS else 1
    for place, base in enumerate(bases[:most]):
        others = [name for name in boxes if name not in bases[: place + 1]]
        if others:
            seen = analysis if base == run.config.reference else _rebased(analysis, run, base)
            yield from (_pair(seen, run, (base, other), styles) for other in others)


def _rebased(analysis: Analysis, run: Run, base: str) -> Analysis:
    """The same run as if that box were its reference."""
    config = msgspec.structs.replace(run.config, reference=base)
    data = analysis.tidy
    own = replace(
        data,
        runs=(msgspec.structs.replace(run, config=config),),
        samples=data.samples[(data.samples["run"] == run.id) & ~data.samples["twin"]],
    )
    comparisons = compare(own)
    return replace(analysis, tidy=own, comparisons=comparisons, answers=answers(own, analysis.summaries, comparisons))


def _pair(analysis: Analysis, run: Run, names: tuple[str, str], styles: Mapping[str, Style]) -> Pair:
    base, other = names
    found = tuple(
        row
        for scenario in run.scenarios
        for metric in scenario.metrics
        if metric.better is not Better.NEITHER
        for row in rows(analysis, run, scenario, metric)
        if row.runtime == other and row.comparison is not None
    )
    box = units.box(other, emulated=emulated(run, other))
    return Pair(
        id=page.anchor(f"pair.{run.id}.{base}.{other}"),
        run=run,
        base=base,
        runtime=other,
        box=box,
        emulated=emulated(run, other),
        chart=forest(found, styles, f"Ratios of {box} to {base}"),
        rows=found,
        answers=tuple(a for a in analysis.answers if a.runtime == other),
    )

"""The report as one JSON document for other programs: the runs whole, and everything that was made of them.

`docs/results.schema.json` describes it; `reports.schema` writes that file. The document has a version of its own: a
field may be added within a major version, nothing is renamed or removed. A number that does not exist (the interval of
three values) is null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.model import Results, Run, Trial
from reports.analysis import Analysis, analyse
from reports.answers import Answer
from reports.claims import Claim, ClaimRow
from reports.compare import Comparison
from reports.summary import Series, Summary

SCHEMA = "tare-report/1.1"
"""1.1: an answer names its run."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Which numbers: one metric of one box under one set of parameters, in one run."""

    run: str
    scenario: str
    runtime: str
    params: str
    metric: str
    labels: str


class Numbers(Cell, frozen=True, kw_only=True):
    """A series as its median, with its exact 95 % interval and its spread."""

    unit: str
    emulated: bool
    exact: bool
    n: int
    failures: int
    timeouts: int
    median: float
    low: float | None
    high: float | None
    mad: float
    iqr: float
    minimum: float
    maximum: float
    outliers: int


class Compared(Cell, frozen=True, kw_only=True):
    """A series against the reference of its run. `relative`: a ratio of medians, else their difference."""

    reference: str
    relative: bool
    estimate: float | None
    low: float | None
    high: float | None
    margin: float | None
    margin_source: str
    verdict: str
    n: int
    p: float | None
    p_holm: float | None
    blocks_to_decide: int | None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence of the report, and the verdict it carries (null where a family of metrics differs)."""

    run: str
    scenario: str
    runtime: str
    text: str
    emulated: bool
    verdict: str | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the claim table. `standing` is null where nothing is claimed."""

    claim: str
    standing: str | None
    measured: tuple[str, ...]
    note: str


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    property: str
    container: Standing
    machine: Standing


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    level: str
    text: str
    remedy: str
    scenario: str


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A results folder: `run.json`, the lines of `trials.jsonl`, and what was wrong with them and tolerated."""

    run: Run
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    schema: str = SCHEMA
    runs: tuple[Measurement, ...]
    answers: tuple[Said, ...]
    claims: tuple[Claimed, ...]
    summaries: tuple[Numbers, ...]
    comparisons: tuple[Compared, ...]
    caveats: tuple[Doubt, ...]


@dataclass(frozen=True, slots=True)
class JsonReport:
    """One document."""

    name: str = "json"
    suffix: str = ".json"

    def render(self, results: Sequence[Results]) -> str:
        return msgspec.json.format(msgspec.json.encode(document(results, analyse(results))), indent=1).decode()


def document(results: Sequence[Results], analysis: Analysis) -> Document:
    return Document(
        runs=tuple(Measurement(run=one.run, trials=tuple(one.trials), notes=one.notes) for one in results),
        answers=tuple(map(_said, analysis.answers)),
        claims=tuple(map(_claimed, analysis.claims)),
        summaries=tuple(_numbers(analysis, one) for one in analysis.summaries),
        comparisons=tuple(_compared(analysis, one) for one in analysis.comparisons.made),
        caveats=tuple(
            Doubt(level=str(one.level), text=one.text, remedy=one.remedy, scenario=one.scenario)
            for one in analysis.caveats
        ),
    )


def _cell(series: Series) -> dict[str, str]:
    return {name: getattr(series, name) for name in Cell.__struct_fields__}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _numbers(analysis: Analysis, one: Summary) -> Numbers:
    return Numbers(
        **_cell(one.series),
        unit=str(analysis.tidy.metrics[one.series.metric].unit),
        emulated=one.emulated,
        exact=one.exact,
        n=one.n,
        failures=one.failures,
        timeouts=one.timeouts,
        median=one.median,
        low=_finite(one.low),
        high=_finite(one.high),
        mad=one.mad,
        iqr=one.iqr,
        minimum=one.minimum,
        maximum=one.maximum,
        outliers=one.outliers,
    )


def _compared(analysis: Analysis, one: Comparison) -> Compared:
    return Compared(
        **_cell(one.series),
        reference=analysis.tidy.run(one.series.run).config.reference,
        relative=one.effect.relative,
        estimate=_finite(one.effect.estimate),
        low=_finite(one.effect.low),
        high=_finite(one.effect.high),
        margin=_finite(one.margin.size),
        margin_source=one.margin.source,
        verdict=str(one.verdict),
        n=one.n,
        p=_finite(one.p),
        p_holm=_finite(one.p_holm),
        blocks_to_decide=one.needed,
    )


def _said(one: Answer) -> Said:
    verdict = str(one.verdict) if one.verdict else None
    return Said(
        run=one.run,
        scenario=one.scenario,
        runtime=one.runtime,
        text=one.text,
        emulated=one.emulated,
        verdict=verdict,
    )


def _claimed(row: ClaimRow) -> Claimed:
    return Claimed(property=row.property, container=_standing(row.container), machine=_standing(row.machine))


def _standing(claim: Claim) -> Standing:
    standing = str(claim.standing) if claim.standing else None
    return Standing(claim=claim.claim, standing=standing, measured=claim.measured, note=claim.note)


json = JsonReport()

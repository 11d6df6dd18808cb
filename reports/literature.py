"""What the papers say, to stand beside what this host measured.

A figure without its interval, host and year says nothing: two papers that share a word rarely share a metric. So every
record says from which instant to which it counts, and only one that counts as our metric does is set beside our
number; for the others the difference is named. Figures were read in the primary source, or in a second one that quotes
it (`quoted`); none is from memory.

Sources: Felter et al., IBM RC25482 (2014), data released with it · Manco et al., LightVM, SOSP 2017 · Agache et al.,
Firecracker, NSDI 2020, data released with it · van Rijn & Rellermeyer, Middleware 2021 · Kuenzer et al., Unikraft,
EuroSys 2021, artifacts · Zhao et al., CLUSTER 2019 · Mao & Humphrey, CLOUD 2012 · Hao et al. 2021 · the READMEs and
test suites of crun, youki and Kata Containers · gVisor's performance guide · Yang, Docker — From Beginner to Practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from harness.model import Unit
from reports import units
from reports.analysis import Analysis
from reports.claims import Evidence, evidence_of


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure of one source, as `literature.toml` holds it and explains."""

    metric: str
    box: str
    what: str
    figure: tuple[float, float]
    unit: Unit = Unit.SECONDS
    relative: bool = False
    counts: str
    host: str
    source: str
    year: str
    quoted: bool = False
    differs: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    record: tuple[Record, ...]


@cache
def records() -> tuple[Record, ...]:
    """Every figure there is."""
    text = (resources.files("reports") / "literature.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=_File).record


@dataclass(frozen=True, slots=True)
class Beside:
    """A record with what this host says to it: its own numbers, or why they may not be set side by side."""

    record: Record
    figure: str
    here: tuple[str, ...]
    why: str


def papers(analysis: Analysis) -> tuple[Beside, ...]:
    """Every record about a metric that the last run measured."""
    evidence = evidence_of(analysis.tidy, analysis.summaries, analysis.comparisons)
    measured = {summary.series.metric for summary in evidence.summaries}
    return tuple(
        _beside(evidence, record) for record in records() if any(_about(record.metric, name) for name in measured)
    )


def _beside(evidence: Evidence, record: Record) -> Beside:
    here = tuple(_here(evidence, record)) if not record.differs else ()
    why = f"not comparable: {record.differs}" if record.differs else "" if here else f"no {record.box} on hardware here"
    return Beside(record, _figure(record), here, why)


def _here(evidence: Evidence, record: Record) -> Iterator[str]:
    """Of hardware boxes of that kind: the ratio beside a ratio, the value beside a value."""
    for runtime in evidence.boxes(record.box):
        numbers = _numbers(evidence, record, runtime)
        if numbers and not evidence.emulated(runtime):
            yield f"{runtime} {_ends(numbers, units.ratio if record.relative else _in(record.unit))}"


def _numbers(evidence: Evidence, record: Record, runtime: str) -> list[float]:
    if record.relative:
        made = (c for c in evidence.comparisons if c.effect.relative and c.series.runtime == runtime)
        return [c.effect.estimate for c in made if _about(record.metric, c.series.metric)]
    found = (s for s in evidence.summaries if s.series.runtime == runtime)
    return [s.median for s in found if _about(record.metric, s.series.metric)]


def _in(unit: Unit) -> Callable[[float], str]:
    return lambda number: units.value(number, unit)


def _ends(numbers: Sequence[float], say: Callable[[float], str]) -> str:
    words = list(dict.fromkeys(say(number) for number in (min(numbers), max(numbers))))
    return "–".join(words)


def _about(pattern: str, metric: str) -> bool:
    """`cpu.*.time` is any of its kind."""
    head, star, tail = pattern.partition("*")
    return metric.startswith(head) and metric.endswith(tail) if star else metric == pattern


def _figure(record: Record) -> str:
    low, high = record.figure
    if record.relative:
        return units.ratio(low) if low == high else f"{units.ratio(low)}–{units.ratio(high)}"
    return units.value(low, record.unit) if low == high else units.interval(low, high, record.unit)

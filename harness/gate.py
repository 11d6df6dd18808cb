"""Old against new: whether two runs may be compared at all, what a gate forbids, and what came of it.

The statistics are a report's business; whoever compares is found by entry point. Here is what both sides agree on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from harness.differences import Difference, Weight, between
from harness.errors import UsageError
from harness.model import Metric, Results, Unit

REGRESSION, INCONCLUSIVE, NOT_COMPARABLE = 4, 5, 6
"""Exit codes."""
OLD_HALF, NEW_HALF = "@base", "@new"
"""All runtimes of a run that are its old side, and all that are not."""

_UNITS: Mapping[str, tuple[Unit, float]] = {
    "s": (Unit.SECONDS, 1.0),
    "ms": (Unit.SECONDS, 1e-3),
    "us": (Unit.SECONDS, 1e-6),
    "µs": (Unit.SECONDS, 1e-6),
    "ns": (Unit.SECONDS, 1e-9),
    "B": (Unit.BYTES, 1.0),
    "KiB": (Unit.BYTES, float(1 << 10)),
    "MiB": (Unit.BYTES, float(1 << 20)),
    "GiB": (Unit.BYTES, float(1 << 30)),
}
_LIMIT = re.compile(r"(?P<metric>[\w.*?-]+):\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|[A-Za-zµ]+)")


@dataclass(frozen=True, slots=True)
class Limit:
    """How much worse a metric may get; `unit` is None for a fraction of the old value. `pattern` may hold * and ?."""

    text: str
    pattern: str
    size: float
    unit: Unit | None

    def covers(self, metric: str) -> bool:
        return fnmatchcase(metric, self.pattern)

    def check(self, metric: Metric) -> None:
        if self.unit is not None and self.unit is not metric.unit:
            raise UsageError(
                f"limit {self.text!r} is in {self.unit}, but {metric.name} is in {metric.unit}",
                hint="give a limit in the metric's unit, or in %",
            )


def limit(text: str) -> Limit:
    """`boot.ready:10%` or `memory.pss:1MiB` → a limit; UsageError for anything else."""
    match = _LIMIT.fullmatch(text.strip())
    unit = match["unit"] if match else ""
    if match is None or (unit != "%" and unit not in _UNITS):
        raise UsageError(
            f"limit {text!r} is not METRIC:LIMIT",
            hint=f"e.g. boot.ready:10% or memory.pss:1MiB; units: %, {', '.join(_UNITS)}",
        )
    number = float(match["number"])
    if unit == "%":
        return Limit(text, match["metric"], number / 100, None)
    kind, factor = _UNITS[unit]
    return Limit(text, match["metric"], number * factor, kind)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a run, or one runtime of it, or the old or new half of a run that measured both."""

    results: Results
    runtime: str = ""

    def holds(self, runtime: str) -> bool:
        if self.runtime in (OLD_HALF, NEW_HALF):
            return runtime.endswith(OLD_HALF) is (self.runtime == OLD_HALF)
        return not self.runtime or runtime == self.runtime

    def common(self, runtime: str) -> str:
        """What both sides call that runtime: nothing where the side is one."""
        return "" if self.runtime and self.runtime not in (OLD_HALF, NEW_HALF) else runtime.removesuffix(OLD_HALF)

    @property
    def label(self) -> str:
        return f"{self.results.run.id}:{self.runtime}" if self.runtime else self.results.run.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a comparison is asked. `strict`: nothing may stay undecided; without limits that gates every metric."""

    old: Side
    new: Side
    limits: Sequence[Limit] = ()
    strict: bool = False
    force: bool = False
    form: str = "text"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer as a document, and the exit code."""

    document: str
    code: int


class Comparer(Protocol):
    """Who knows how to compare two sides."""

    def compare(self, question: Question) -> Ruling: ...


def differences(old: Side, new: Side) -> tuple[Difference, ...]:
    """Everything that is not the same, what decides first."""
    found = [*_kinds(old, new), *between(old.results.run, new.results.run)]
    return tuple(sorted(found, key=lambda difference: not difference.decides))


def _kinds(old: Side, new: Side) -> Iterator[Difference]:
    """Emulation and hardware are two things, whether within a run or because each run could do only one of them."""
    apart = [_measured(old) - _measured(new), _measured(new) - _measured(old)]
    if not all(apart):
        return
    kinds = [
        {name in side.results.run.supports and side.results.run.supports[name].emulated for name in names}
        for side, names in zip((old, new), apart, strict=True)
    ]
    if kinds[0] != kinds[1]:
        names = [", ".join(sorted(one)) for one in apart]
        yield Difference("emulation on one side only", names[0], names[1], Weight.DECIDES)


def _measured(side: Side) -> set[str]:
    measured = (trial.step.cell.runtime for trial in side.results.trials if not trial.step.skip)
    return {runtime for runtime in measured if side.holds(runtime)}

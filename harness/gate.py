"""Old against new: whether two runs may be compared at all, what a gate forbids, and what came of it.

The statistics are a report's business; whoever compares is found by entry point. Here is what both sides agree on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from harness.errors import UsageError
from harness.model import Metric, Results, Run, Unit

REGRESSION, INCONCLUSIVE, NOT_COMPARABLE = 4, 5, 6
"""Exit codes."""
OLD_HALF, NEW_HALF = "@base", "@new"
"""All runtimes of a run that are its old side, and all that are not."""

_HOST_DECIDES = ("host_id", "machine", "cpu_model", "cpus", "memory_bytes", "virtualised", "kernel", "cgroup_mode")
_HOST_MATTERS = (
    "distribution", "governor", "no_turbo", "boost", "smt", "isolated_cpus", "aslr", "thp", "ksm", "rcu_expedited",
    "clocksource", "swap_bytes", "python", "boot_id",
)  # fmt: skip
_PROFILE = {"domain.xml": r"<(?:type|cpu|tb-cache|vcpu)\b[^>]*>", "kernel command line": r".+"}
"""What of a box's documents says what kind of machine it was; the rest names the run and its folders."""

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


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same on both sides. `decides`: no comparison without saying that one wants it nevertheless."""

    what: str
    old: str
    new: str
    decides: bool


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
    one, two = old.results.run, new.results.run
    found = [*_kinds(old, new)]
    if one.id != two.id:
        found += [*_host(one, two), *_given(one, two), *_boxes(one, two), *_definitions(one, two)]
    return tuple(sorted(found, key=lambda difference: not difference.decides))


def _host(one: Run, two: Run) -> Iterator[Difference]:
    for decides, keys in ((True, _HOST_DECIDES), (False, _HOST_MATTERS)):
        for key in keys:
            old, new = one.host.get(key), two.host.get(key)
            if old != new and (key != "host_id" or (old and new)):  # the first schema knew no host_id
                yield Difference(f"host {key}", str(old), str(new), decides)


def _given(one: Run, two: Run) -> Iterator[Difference]:
    images = [run.images.get(run.config.image) for run in (one, two)]
    digests = [image.digest if image else "none" for image in images]
    kernels = [image.kernel.digest if image and image.kernel else "none" for image in images]
    pairs = (
        ("image digest", digests, True),
        ("guest kernel", kernels, True),
        ("memory of a box", [str(run.config.memory_bytes) for run in (one, two)], True),
        ("CPUs of a box", [str(len(run.config.cpuset)) for run in (one, two)], True),
        ("options", [str(run.config.options) for run in (one, two)], False),
        ("tare", [run.version for run in (one, two)], False),
    )
    for what, (old, new), decides in pairs:
        if old != new:
            yield Difference(what, old, new, decides)


def _boxes(one: Run, two: Run) -> Iterator[Difference]:
    for name in [name for name in one.supports if name in two.supports]:
        old, new = one.supports[name], two.supports[name]
        if not (old.available and new.available):
            continue
        if old.emulated != new.emulated:
            yield Difference(f"{name} is emulation", str(old.emulated), str(new.emulated), True)
        if old.version != new.version:
            yield Difference(f"{name} version", old.version, new.version, False)
        if _profile(one, name) != _profile(two, name):
            yield Difference(f"{name} machine", _profile(one, name), _profile(two, name), True)


def _profile(run: Run, runtime: str) -> str:
    documents = run.documents.get(runtime, {})
    parts = (part for name, pattern in _PROFILE.items() for part in re.findall(pattern, documents.get(name, "")))
    return " ".join(parts)


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
        yield Difference("emulation on one side only", names[0], names[1], True)


def _measured(side: Side) -> set[str]:
    measured = (trial.step.cell.runtime for trial in side.results.trials if not trial.step.skip)
    return {runtime for runtime in measured if side.holds(runtime)}


def _definitions(one: Run, two: Run) -> Iterator[Difference]:
    defined = [{metric.name: metric for facts in run.scenarios for metric in facts.metrics} for run in (one, two)]
    for name in [name for name in defined[0] if name in defined[1]]:
        old, new = (_definition(metrics[name]) for metrics in defined)
        if old != new:
            yield Difference(f"definition of {name}", old, new, True)


def _definition(metric: Metric) -> str:
    return f"{metric.meaning} [{metric.unit}, {metric.better}, {metric.kind}]"

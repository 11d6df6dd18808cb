"""A claim copied since 2014, put to the test: containers start in seconds, virtual machines in minutes, and so on.

The table is known from countless tutorials and was never printed with a measurement. Here each cell is confronted with
this run's numbers. A box counts as a virtual machine when it boots a kernel of its own: the run itself shows that.

What the words are taken to mean, since the table does not say: *seconds* is below one minute, *minutes* is one minute
or more; *close to the physical machine* is a verdict of SAME or BETTER; a *large loss* is at least 20 %; *KB–MB* is
below one GiB, *GB* is one GiB or more. Emulation can only be slower than the machine it imitates, so it may refute that
a virtual machine needs minutes, but confirms nothing about time or performance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.model import Role, Run, Unit
from reports import units
from reports.compare import Comparison, Comparisons
from reports.summary import SMALLEST_N, Summary
from reports.tidy import Tidy, emulated, runtimes
from reports.verdicts import Verdict

MINUTE_S = 60.0
LARGE_LOSS = 1.20
GIB = float(1 << 30)
CONTAINER = "container"
MACHINE = "virtual machine"


class Standing(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    PARTLY = "holds only when"
    OPEN = "not decided here"
    UNMEASURED = "not measured here"


@dataclass(frozen=True, slots=True)
class Claim:
    """One cell of the table. `measured` has one line a box; `note` completes the standing."""

    claim: str
    standing: Standing | None
    measured: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClaimRow:
    property: str
    container: Claim
    machine: Claim


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one box showed: does the claim hold for it (None: undecided), in words; `work` where it did several."""

    box: str
    holds: bool | None
    words: str
    emulated: bool = False
    work: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run, and which of its boxes are containers and which virtual machines."""

    run: Run
    measured: frozenset[str]
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]

    def boxes(self, kind: str) -> tuple[str, ...]:
        others = [name for name in runtimes(self.run) if name != self.run.config.reference]
        return tuple(n for n in others if n in self.measured and (MACHINE if self._machine(n) else CONTAINER) == kind)

    def of(self, runtime: str, metric: str) -> tuple[Summary, ...]:
        return tuple(s for s in self.summaries if (s.series.runtime, s.series.metric) == (runtime, metric))

    def emulated(self, runtime: str) -> bool:
        return emulated(self.run, runtime)

    def name(self, runtime: str) -> str:
        return units.box(runtime, emulated=self.emulated(runtime))

    def _machine(self, runtime: str) -> bool:
        prepared = self.run.prepared.get(runtime)
        files = any(artifact.role is Role.KERNEL for artifact in prepared.artifacts) if prepared else False
        return files or bool(self.of(runtime, "boot.phase.kernel") or self.of(runtime, "memory.guest_resident"))


def claims(tidy: Tidy, summaries: Sequence[Summary], comparisons: Comparisons) -> tuple[ClaimRow, ...]:
    """The table for the last of the runs: it has one cell per kind of box, so it speaks of one host at one time."""
    evidence = evidence_of(tidy, summaries, comparisons)

    def row(name: str, words: tuple[str, str], read: Callable[[Evidence, str, str], list[_Reading]]) -> ClaimRow:
        cells = [
            _claim(claim, [r for box in evidence.boxes(kind) for r in read(evidence, box, kind)])
            for claim, kind in zip(words, (CONTAINER, MACHINE), strict=True)
        ]
        return ClaimRow(name, *cells)

    return (
        row("start-up", ("seconds", "minutes"), _startup),
        row("delivery", ("the same everywhere, from development to production", ""), _delivery),
        row("performance", ("close to the physical machine", "large loss"), _performance),
        row("image size", ("small: KB–MB", "large: GB"), _size),
        row("migration and scaling", ("moves across platforms, can be replicated", ""), _replication),
    )


def evidence_of(tidy: Tidy, summaries: Sequence[Summary], comparisons: Comparisons) -> Evidence:
    """What the last of the runs has to say."""
    run = tidy.runs[-1]
    return Evidence(
        run,
        frozenset(tidy.samples.loc[tidy.samples["run"] == run.id, "runtime"].unique()),
        tuple(s for s in summaries if s.series.run == run.id),
        tuple(c for c in comparisons.made if c.series.run == run.id),
    )


def _claim(words: str, readings: Sequence[_Reading]) -> Claim:
    """Emulated boxes are only asked where there is no other; what is shown is always all of them."""
    measured = _measured(readings)
    if not words:
        return Claim("–", None, measured, "nothing is claimed")
    asked = [r for r in readings if not r.emulated] or list(readings)
    if not asked:
        return Claim(words, Standing.UNMEASURED)
    holding, failing = [r for r in asked if r.holds], [r for r in asked if r.holds is False]
    undecided = len(asked) - len(holding) - len(failing)
    only_emulation = all(r.emulated for r in asked)
    if not holding and not failing:
        note = "only under emulation" if only_emulation else ""
        return Claim(words, Standing.UNMEASURED if only_emulation else Standing.OPEN, measured, note)
    if holding and failing:
        return Claim(words, Standing.PARTLY, measured, _split(holding, failing))
    if holding and undecided:
        return Claim(words, Standing.OPEN, measured, f"{len(holding)} of {len(asked)} hold, the rest is undecided")
    note = "judged under emulation, which can only be slower" if only_emulation else ""
    return Claim(words, Standing.HOLDS if holding else Standing.FAILS, measured, note)


def _measured(readings: Sequence[_Reading]) -> tuple[str, ...]:
    """One line a box."""
    lines: dict[str, list[str]] = {}
    for r in readings:
        lines.setdefault(r.box, []).append(f"{r.work} {r.words}".strip())
    return tuple(f"{box}: {', '.join(words)}" for box, words in lines.items())


def _split(holding: Sequence[_Reading], failing: Sequence[_Reading]) -> str:
    """Where it holds and where not: by kind of work when that alone decides, else by box, else by both."""
    good, bad = {r.work for r in holding}, {r.work for r in failing}
    if all((*good, *bad)) and not good & bad:
        return f"the work is {_listed([r.work for r in holding])}, not {_listed([r.work for r in failing])}"
    split = {r.box for r in holding} & {r.box for r in failing}
    boxes = [
        _listed([f"{r.box} {r.work}".rstrip() if r.box in split else r.box for r in readings])
        for readings in (holding, failing)
    ]
    return f"the box is {boxes[0]}, not {boxes[1]}"


def _listed(names: Sequence[str]) -> str:
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} or {last}" if first else last


def _startup(evidence: Evidence, box: str, kind: str) -> list[_Reading]:
    found = []
    slow = emulated(evidence.run, box)
    for s in evidence.of(box, "boot.ready"):
        low, high = (s.low, s.high) if s.n >= SMALLEST_N else (s.minimum, s.maximum)
        under, over = high < MINUTE_S, low >= MINUTE_S
        holds = (under if kind == CONTAINER else over) if under or over else None
        holds = None if slow and over else holds
        where = f" ({s.series.params})" if s.series.params else ""
        span = f"{units.value(s.median, Unit.SECONDS)} ({units.interval(low, high, Unit.SECONDS)}, n {s.n})"
        found.append(_Reading(evidence.name(box) + where, holds, span, slow))
    return found


def _performance(evidence: Evidence, box: str, kind: str) -> list[_Reading]:
    slow = emulated(evidence.run, box)
    found = []
    for c in evidence.comparisons:
        metric = c.series.metric
        if c.series.runtime == box and metric.startswith("cpu.") and metric.endswith(".time") and c.effect.relative:
            work = metric.removeprefix("cpu.").removesuffix(".time")
            interval = units.ratio_interval(c.effect.low, c.effect.high)
            span = units.ratio(c.effect.estimate) + (f" ({interval})" if interval != units.NOTHING else "")
            judged = _close(c) if kind == CONTAINER else _large_loss(c)
            found.append(_Reading(evidence.name(box), None if slow else judged, span, slow, work))
    return found


def _close(comparison: Comparison) -> bool | None:
    return comparison.verdict in (Verdict.SAME, Verdict.BETTER) if comparison.verdict.decided else None


def _large_loss(comparison: Comparison) -> bool | None:
    if comparison.verdict is Verdict.TOO_FEW:
        return None
    if comparison.effect.low >= LARGE_LOSS:
        return True
    return False if comparison.effect.high < LARGE_LOSS else None


def _size(evidence: Evidence, box: str, kind: str) -> list[_Reading]:
    """The bytes that must travel to start it; what they unpack to, where that was not measured."""
    name = next((n for n in ("disk.transfer", "disk.content") if evidence.of(box, n)), "")
    image = evidence.run.images.get(evidence.run.config.image)
    own = f", whose own files are {units.value(image.content_bytes, Unit.BYTES)}" if image else ""
    found = []
    for s in evidence.of(box, name):
        small = s.maximum < GIB
        words = f"{units.value(s.median, Unit.BYTES)} ({name}, image {evidence.run.config.image}{own})"
        found.append(_Reading(evidence.name(box), small if kind == CONTAINER else s.minimum >= GIB, words))
    return found


def _delivery(evidence: Evidence, box: str, kind: str) -> list[_Reading]:
    image = evidence.run.images.get(evidence.run.config.image)
    inside = evidence.run.digests_inside.get(box)
    if image is None or inside is None:
        return []
    same = inside == image.content_digest
    words = "runs exactly the bytes of the image" if same else "runs other bytes than the image"
    return [_Reading(evidence.name(box), same, words)]


def _replication(evidence: Evidence, box: str, kind: str) -> list[_Reading]:
    """One more copy on this host was weighed; moving to another machine is another question, so nothing is decided."""
    return [
        _Reading(evidence.name(box), None, f"one more instance adds {units.value(s.median, Unit.BYTES)} of disk")
        for s in evidence.of(box, "disk.marginal")
    ]

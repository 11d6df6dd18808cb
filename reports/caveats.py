"""Doubts as sentences, each with a remedy. Whoever shows a number shows the doubts about it nearby."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from harness.model import Better, Kind, Outcome
from reports import units
from reports.answers import capital
from reports.compare import Comparisons, compare
from reports.differences import deciding, differing
from reports.drift import sentences
from reports.summary import Summary, outliers, per_trial, split
from reports.tidy import Tidy, emulated
from reports.verdicts import MARGIN, SMALLEST_BLOCKS


class Level(StrEnum):
    ERROR = "error"
    """A number is wrong or missing."""
    DOUBT = "doubt"
    """A number may mislead."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """What is doubtful and what to do about it. `scenario` is empty when it concerns the whole run."""

    level: Level
    text: str
    remedy: str = ""
    scenario: str = ""
    across: bool = False
    """It is about comparing runs with each other."""


def caveats(tidy: Tidy, summaries: Sequence[Summary], comparisons: Comparisons) -> tuple[Caveat, ...]:
    """All doubts, errors first; two equal ones count once."""
    found = [
        *_digests(tidy),
        *_exact(summaries),
        *_lost(tidy),
        *_emulation(tidy),
        *_blocks(tidy),
        *_twins(tidy, comparisons),
        *_sanity(tidy, comparisons),
        *_taints(tidy),
        *_tainted_verdicts(tidy, comparisons),
        *_outliers(summaries),
        *_first_blocks(tidy),
        *(Caveat(level=Level.DOUBT, text=text, remedy=cure, scenario=where) for where, text, cure in sentences(tidy)),
        *_skipped(tidy),
        *_undefined(tidy),
        *several_runs(tidy),
        *(Caveat(level=Level.NOTE, text=_sentence(text)) for run in tidy.runs for text in run.warnings),
        *(Caveat(level=Level.NOTE, text=_sentence(text)) for text in tidy.notes),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda caveat: list(Level).index(caveat.level)))


def _digests(tidy: Tidy) -> Iterator[Caveat]:
    for run in tidy.runs:
        for runtime, digest in run.digests_inside.items():
            image = run.prepared[runtime].image if runtime in run.prepared else run.images.get(run.config.image)
            if image and digest != image.content_digest:
                yield Caveat(
                    level=Level.ERROR,
                    text=f"{runtime} ran other bytes than the image {image.name}: the digest read inside it differs.",
                    remedy="Its numbers compare nothing; remove its prepared image and run again.",
                )


def _exact(summaries: Sequence[Summary]) -> Iterator[Caveat]:
    for summary in summaries:
        if summary.varies:
            series = summary.series
            yield Caveat(
                level=Level.ERROR,
                text=f"{series.metric} of {series.runtime} should be the same in every trial but was not.",
                remedy="Treat it as a fault of the measurement, not as noise.",
                scenario=series.scenario,
            )


def _lost(tidy: Tidy) -> Iterator[Caveat]:
    words = {Outcome.FAILED: "failed", Outcome.TIMEOUT: "ran out of time"}
    for outcome, word in words.items():
        lost = tidy.trials[tidy.trials["outcome"] == outcome]
        for (scenario, runtime), group in lost.groupby(["scenario", "runtime"], sort=False):
            reasons = group["reason"].value_counts()
            lead = ": " if len(reasons) == 1 else ", most often: "
            why = f"{lead}{_clip(str(reasons.index[0]))}" if reasons.index[0] else ""
            yield Caveat(
                level=Level.ERROR,
                text=_sentence(f"{_trials(len(group))} of {scenario} on {runtime} {word}{why}"),
                remedy="None of them entered a number; their logs are in the run's folder.",
                scenario=str(scenario),
            )


def _emulation(tidy: Tidy) -> Iterator[Caveat]:
    measured = set(tidy.samples["runtime"].unique())
    for run in tidy.runs:
        for runtime in run.supports:
            if emulated(run, runtime) and runtime in measured:
                yield Caveat(
                    level=Level.DOUBT,
                    text=f"{runtime} is emulation: its times and CPU costs say nothing about virtual machines with "
                    "hardware virtualization. Its sizes and digests hold.",
                    remedy="Run again on a host where `tare check` finds hardware virtualization.",
                )


def _blocks(tidy: Tidy) -> Iterator[Caveat]:
    measured = tidy.measured()
    for run in tidy.runs:
        blocks = measured.loc[measured["run"] == run.id, "block"].nunique()
        if blocks < SMALLEST_BLOCKS:
            yield Caveat(
                level=Level.DOUBT,
                text=f"Only {blocks} measured {'block' if blocks == 1 else 'blocks'}: values, but no verdicts on what "
                f"varies. A verdict needs {SMALLEST_BLOCKS}.",
                remedy="Run again with `--blocks 20`.",
            )


def _twins(tidy: Tidy, comparisons: Comparisons) -> Iterator[Caveat]:
    noisy: dict[str, list[str]] = {}
    for series, effect in comparisons.twins.items():
        reach = (abs(effect.estimate - 1), (effect.high - effect.low) / 2)
        metric = tidy.metrics[series.metric]
        judged = metric.kind is Kind.SAMPLED and metric.better is not Better.NEITHER
        if judged and effect.relative and max(reach) > MARGIN:
            interval = units.ratio_interval(effect.low, effect.high)
            shown = f" ({interval})" if interval != units.NOTHING else ""
            noisy.setdefault(series.scenario, []).append(f"{series.metric} {units.ratio(effect.estimate)}{shown}")
    for scenario, names in noisy.items():
        yield Caveat(
            level=Level.DOUBT,
            text=f"In {scenario} noise alone may be worth more than {units.percent(MARGIN)}, as the reference"
            f" and its A/A twin show: {_few(names)}.",
            remedy="Quieten the host (`tare check` says how) or measure more blocks.",
            scenario=scenario,
        )
    missing = {c.series.scenario for c in comparisons.made if not c.exact} - {s.scenario for s in comparisons.twins}
    for scenario in sorted(missing):
        yield Caveat(
            level=Level.DOUBT,
            text=f"{scenario} has no A/A twin: its noise floor is unknown.",
            remedy="Run with the reference runtime included.",
            scenario=scenario,
        )


def _sanity(tidy: Tidy, comparisons: Comparisons) -> Iterator[Caveat]:
    """CPU or I/O faster than 105 % of the reference is invalid until somebody explains it."""
    for c in comparisons.made:
        better = tidy.metrics[c.series.metric].better
        fast = {Better.LOWER: c.effect.high < 1 / (1 + MARGIN), Better.HIGHER: c.effect.low > 1 + MARGIN}
        if c.series.metric.startswith(("cpu.", "io.")) and c.effect.relative and fast.get(better):
            yield Caveat(
                level=Level.DOUBT,
                text=f"{c.series.metric}: {c.series.runtime} beats the reference by more than {units.percent(MARGIN)}, "
                "which a box cannot do.",
                remedy="Take it as invalid until a cache, a missing flush or another core explains it.",
                scenario=c.series.scenario,
            )


def _taints(tidy: Tidy) -> Iterator[Caveat]:
    tainted = tidy.trials[tidy.trials["taints"] != ""]
    for (scenario, taints), group in tainted.groupby(["scenario", "taints"], sort=False):
        boxes = ", ".join(dict.fromkeys(group["runtime"]))
        be = "is" if len(group) == 1 else "are"
        yield Caveat(
            level=Level.DOUBT,
            text=f"{_trials(len(group))} of {scenario} ({boxes}) {be} tainted: {taints}.",
            remedy="They are kept and marked; quieten the host and run again when they matter.",
            scenario=str(scenario),
        )


def _tainted_verdicts(tidy: Tidy, comparisons: Comparisons) -> Iterator[Caveat]:
    """Both analyses are told where they differ: with all trials, and without the tainted ones."""
    clean = tidy.samples[tidy.samples["taints"] == ""]
    if len(clean) == len(tidy.samples):
        return
    others = {c.series: c for c in compare(replace(tidy, samples=clean)).made}
    for c in comparisons.made:
        other = others.get(c.series)
        if other and other.verdict is not c.verdict:
            yield Caveat(
                level=Level.DOUBT,
                text=f"{c.series.metric} of {c.series.runtime}: {c.verdict} with all trials, but "
                f"{other.verdict} ({units.ratio(other.effect.estimate)}) without the tainted ones.",
                remedy="Trust neither; quieten the host and run again.",
                scenario=c.series.scenario,
            )


def _outliers(summaries: Sequence[Summary]) -> Iterator[Caveat]:
    for scenario in dict.fromkeys(s.series.scenario for s in summaries):
        marked = [s for s in summaries if s.series.scenario == scenario and s.outliers and not s.exact]
        if marked:
            names = [f"{s.outliers} of {s.n} in {s.series.metric} on {s.series.runtime}" for s in marked]
            yield Caveat(
                level=Level.DOUBT,
                text=f"Values far out (over ten robust standard deviations): {_few(names)}.",
                remedy="None was removed; look at the points, and at what else the host did then.",
                scenario=scenario,
            )


def _first_blocks(tidy: Tidy) -> Iterator[Caveat]:
    measured = tidy.measured()
    table = per_trial(measured[~measured["twin"]])
    numbers = table["value"].to_numpy(float)
    for series, rows in split(table):
        values = numbers[rows]
        far = len(values) > 2 and bool(outliers(values)[0]) and values[0] > np.median(values)
        if far and tidy.metrics[series.metric].kind is Kind.SAMPLED:
            yield Caveat(
                level=Level.DOUBT,
                text=f"The first block of {series.metric} on {series.runtime} was "
                f"{units.ratio(values[0] / np.median(values))} the median: something was still cold.",
                remedy="Try one more warm-up block.",
                scenario=series.scenario,
            )


def _skipped(tidy: Tidy) -> Iterator[Caveat]:
    skipped = tidy.trials[tidy.trials["outcome"] == Outcome.SKIPPED]
    for (name, runtime, reason), group in skipped.groupby(["run", "runtime", "reason"], sort=False):
        support = tidy.run(str(name)).supports.get(str(runtime))
        scenarios = ", ".join(dict.fromkeys(group["scenario"]))
        yield Caveat(
            level=Level.NOTE,
            text=f"{runtime} was not measured in {scenarios}: {_end(_clip(str(reason)) or 'no reason was given')}",
            remedy=_sentence(support.hint) if support and support.hint else "",
        )


def _undefined(tidy: Tidy) -> Iterator[Caveat]:
    for name in sorted(name for name, metric in tidy.metrics.items() if not metric.meaning):
        yield Caveat(
            level=Level.DOUBT,
            text=f"{name} was measured, but its run does not say what it means.",
            remedy="Declare it among its scenario's metrics.",
        )


def several_runs(tidy: Tidy) -> Iterator[Caveat]:
    """Two runs side by side are two answers unless everything that decides them is equal."""
    for run in tidy.runs[1:]:
        other = differing(tidy.runs[0], run)
        if other:
            so = "their numbers are not comparable" if deciding(tidy.runs[0], run) else "their numbers may too"
            yield Caveat(
                level=Level.DOUBT,
                text=f"{run.id} and {tidy.runs[0].id} differ in {', '.join(_together(other))}: {so}.",
                remedy="Compare ratios inside each run only.",
                across=True,
            )


def _together(differences: Sequence[str]) -> list[str]:
    """Each, but the definitions of metrics as one."""
    lead = "definition of "
    defined = [name.removeprefix(lead) for name in differences if name.startswith(lead)]
    others = [name for name in differences if not name.startswith(lead)]
    return [*others, f"the definitions of {_few(defined)}"] if len(defined) > 1 else list(differences)


def _few(names: Sequence[str]) -> str:
    return "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _clip(text: str, length: int = 240) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _sentence(text: str) -> str:
    return capital(_end(text))


def _end(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."

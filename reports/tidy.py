"""Results as tables: one row per sample, one row per trial. Nothing else in this room reads a trial.

Wide and narrow runs look the same here: parameters and labels become one stable string each, so that any scenario a
plug-in brings can be grouped, charted and exported without a word of code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from harness.model import Better, Metric, Results, Run, Unit
from harness.store import many_objects

CELL = ["run", "scenario", "runtime", "params"]
SERIES = [*CELL, "metric", "labels"]
TRIAL_COLUMNS = [
    *CELL,
    "twin",
    "block",
    "position",
    "index",
    "warmup",
    "outcome",
    "emulated",
    "taints",
    "reason",
    "started_at",
    "elapsed_s",
    "settle_s",
]
CANARY = "canary_s"
"""Of each trial, what the canary of its block took: a column of the trials alone."""
_ORDER = (
    *CELL, "twin", "emulated", "block", "position", "index", "warmup", "outcome", "taints", "reason", "started_at",
    "elapsed_s", "settle_s", CANARY,
)  # fmt: skip
SAMPLE_COLUMNS = [*TRIAL_COLUMNS, "metric", "labels", "unit", "value"]


@dataclass(frozen=True, kw_only=True)
class Tidy:
    """Some runs and their trials. `absent` holds what a box could not supply, with the reason in `reason`."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    metrics: Mapping[str, Metric]
    samples: pd.DataFrame
    trials: pd.DataFrame
    absent: pd.DataFrame

    def run(self, name: str) -> Run:
        return next(run for run in self.runs if run.id == name)

    def where(self, scenario: str, params: str, labels: str = "") -> str:
        """What tells a cell from its neighbours: parameters are only worth a word where they vary."""
        return " ".join(part for part in (params if scenario in self.varied else "", labels) if part)

    @cached_property
    def varied(self) -> frozenset[str]:
        """Scenarios that ran with more than one set of parameters."""
        kinds = self.trials[self.trials["outcome"] != "skipped"].groupby("scenario")["params"].nunique()
        return frozenset(map(str, kinds[kinds > 1].index))

    def measured(self) -> pd.DataFrame:
        """The samples that may enter a summary: of trials that went well, warm-up apart."""
        return self.samples[(self.samples["outcome"] == "ok") & ~self.samples["warmup"]]


def read(results: Sequence[Results]) -> Tidy:
    """Lays out runs and trials as tables, in the order they were measured: one pass, column by column."""
    metrics = _metrics(results)
    columns = _Columns([], [], [])
    with many_objects():
        for result in results:
            columns.add(result)
    for name in sorted({name for _, name, _, _ in columns.samples} - set(metrics)):
        metrics[name] = Metric(name=name, unit=Unit.RATIO, better=Better.NEITHER, meaning="")
    trials = _typed(columns.trials)
    return Tidy(
        runs=tuple(result.run for result in results),
        notes=tuple(note for result in results for note in result.notes),
        metrics=metrics,
        samples=_sampled(trials, columns.samples, metrics, "value"),
        trials=trials,
        absent=_sampled(trials, columns.absent, metrics, "reason"),
    )


@dataclass(slots=True)
class _Columns:
    """What the trials hold, a tuple each in the order of `_ORDER`; samples and absences refer to their trial's row."""

    trials: list[tuple[object, ...]]
    samples: list[tuple[int, str, str, float]]
    absent: list[tuple[int, str, str, str]]

    def add(self, result: Results) -> None:
        run = result.run
        cells: dict[tuple[object, ...], tuple[object, ...]] = {}
        trials, samples = self.trials, self.samples
        for index, trial in enumerate(result.trials):
            step, cell = trial.step, trial.step.cell
            key = (cell.scenario, cell.runtime, cell.twin, *cell.params.items())
            if key not in cells:
                named = (run.id, cell.scenario, cell.runtime, text_of(cell.params), cell.twin)
                cells[key] = (*named, emulated(run, cell.runtime))
            for s in trial.samples:
                samples.append((len(trials), s.metric, text_of(s.labels) if s.labels else "", s.value))
            if trial.absent:
                self.absent += [(len(trials), name, "", reason) for name, reason in sorted(trial.absent.items())]
            trials.append(
                (
                    *cells[key], step.block, step.position, index, step.warmup, trial.outcome.value,
                    "; ".join(trial.taints) if trial.taints else "", trial.reason or step.skip, trial.started_at,
                    trial.elapsed_s, trial.settle_s, trial.noise.get(CANARY, math.nan),
                )
            )  # fmt: skip


def _sampled(
    trials: pd.DataFrame, found: Sequence[tuple[int, str, str, object]], metrics: Mapping[str, Metric], last: str
) -> pd.DataFrame:
    """The trials' columns beside each sample (or absence, whose reason takes the place of the trial's)."""
    row, metric, labels, value = zip(*found, strict=True) if found else ((), (), (), ())
    table = trials[TRIAL_COLUMNS].take(np.asarray(row, dtype=np.int64)).reset_index(drop=True)
    units = {name: str(_unit(metrics, name)) for name in dict.fromkeys(metric)}
    table["metric"], table["labels"] = _words(metric), _words(labels)
    table["unit"] = _words([units[name] for name in metric])
    if last == "value":
        return table.assign(value=np.asarray(value, dtype="float64"))
    return table.assign(reason=_words(value), value=math.nan)


def text_of(pairs: Mapping[str, str]) -> str:
    """Parameters or labels as one string that does not depend on their order."""
    return " ".join(f"{name}={pairs[name]}" for name in sorted(pairs))


def emulated(run: Run, runtime: str) -> bool:
    return runtime in run.supports and run.supports[runtime].emulated


def runtimes(run: Run) -> tuple[str, ...]:
    """All runtimes of a run in the order they were asked for, the reference first. `a|b` asked for one of two."""
    asked = [name for entry in run.config.runtimes for name in entry.split("|")]
    return tuple(dict.fromkeys([run.config.reference, *asked, *run.supports]))


def everything(tidy: Tidy) -> pd.DataFrame:
    """One row per sample; a trial without samples, or a metric a box lacks, keeps a row with its reason."""
    spoken = pd.MultiIndex.from_frame(tidy.samples[["run", "index"]])
    silent = tidy.trials[~pd.MultiIndex.from_frame(tidy.trials[["run", "index"]]).isin(spoken)]
    parts = [part.astype(object) for part in (tidy.samples, tidy.absent, silent) if not part.empty]
    table = pd.concat(parts) if parts else tidy.samples
    return table.sort_values(["run", "index"], kind="stable").reindex(columns=SAMPLE_COLUMNS)


def _metrics(results: Sequence[Results]) -> dict[str, Metric]:
    """Every metric that a run defined, by name."""
    found: dict[str, Metric] = {}
    for result in results:
        for scenario in result.run.scenarios:
            for metric in scenario.metrics:
                found.setdefault(metric.name, metric)
    return found


def _unit(metrics: Mapping[str, Metric], name: str) -> str:
    return metrics[name].unit if name in metrics else ""


def _typed(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    kinds = dict.fromkeys(("twin", "warmup", "emulated"), "bool")
    kinds |= dict.fromkeys(("block", "position", "index"), "int64")
    kinds |= dict.fromkeys(("elapsed_s", "settle_s", CANARY), "float64")
    columns = dict(zip(_ORDER, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(_ORDER, ())
    return pd.DataFrame(
        {
            name: np.asarray(columns[name], dtype=kinds[name]) if name in kinds else _words(columns[name])
            for name in [*TRIAL_COLUMNS, CANARY]
        }
    )


def _words(column: Sequence[object]) -> pd.Series[str]:
    """A million words, few of them different: each is looked at once."""
    codes, words = pd.factorize(np.asarray(column, dtype=object))
    return pd.Series(pd.array(words, dtype="str").take(codes))

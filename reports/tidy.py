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
    columns = _Columns({}, [], [])
    for result in results:
        columns.add(result)
    for name in sorted({name for _, name, _, _ in columns.samples} - set(metrics)):
        metrics[name] = Metric(name=name, unit=Unit.RATIO, better=Better.NEITHER, meaning="")
    trials = _typed(pd.DataFrame(columns.trials, columns=[*TRIAL_COLUMNS, CANARY]))
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
    """What the trials hold, as one list a column; samples and absences refer to their trial's row."""

    trials: dict[str, list[object]]
    samples: list[tuple[int, str, str, float]]
    absent: list[tuple[int, str, str, str]]

    def add(self, result: Results) -> None:
        run = result.run
        cells: dict[tuple[object, ...], tuple[object, ...]] = {}
        names = [*TRIAL_COLUMNS, CANARY]
        lists = [self.trials.setdefault(name, []) for name in names]
        row = len(lists[0])
        for index, trial in enumerate(result.trials):
            step, cell = trial.step, trial.step.cell
            key = (cell.scenario, cell.runtime, *cell.params.items(), cell.twin)
            if key not in cells:
                cells[key] = (run.id, cell.scenario, cell.runtime, text_of(cell.params), cell.twin)
            values = (
                *cells[key], step.block, step.position, index, step.warmup, trial.outcome.value,
                emulated(run, cell.runtime), "; ".join(trial.taints), trial.reason or step.skip, trial.started_at,
                trial.elapsed_s, trial.settle_s, trial.noise.get(CANARY, math.nan),
            )  # fmt: skip
            for column, value in zip(lists, values, strict=True):
                column.append(value)
            self.samples += [(row, s.metric, text_of(s.labels) if s.labels else "", s.value) for s in trial.samples]
            self.absent += [(row, metric, "", reason) for metric, reason in sorted(trial.absent.items())]
            row += 1


def _sampled(
    trials: pd.DataFrame, found: Sequence[tuple[int, str, str, object]], metrics: Mapping[str, Metric], last: str
) -> pd.DataFrame:
    """The trials' columns beside each sample (or absence, whose reason takes the place of the trial's)."""
    row, metric, labels, value = zip(*found, strict=True) if found else ((), (), (), ())
    table = trials[TRIAL_COLUMNS].take(np.asarray(row, dtype=np.int64)).reset_index(drop=True)
    table["metric"], table["labels"] = pd.Series(metric, dtype="str"), pd.Series(labels, dtype="str")
    units = {name: str(_unit(metrics, name)) for name in dict.fromkeys(metric)}
    table["unit"] = pd.Series([units[name] for name in metric], dtype="str")
    table[last] = pd.Series(value, dtype="float64" if last == "value" else "str")
    return table if last == "value" else table.assign(value=math.nan)


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


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    kinds = dict.fromkeys(("twin", "warmup", "emulated"), "bool")
    kinds |= dict.fromkeys(("block", "position", "index"), "int64")
    kinds |= dict.fromkeys(("elapsed_s", "settle_s", CANARY), "float64")
    return frame.astype({**dict.fromkeys(frame.columns, "str"), **kinds})

"""Results as tables: one row per sample, one row per trial. Nothing else in this room reads a trial.

Wide and narrow runs look the same here: parameters and labels become one stable string each, so that any scenario a
plug-in brings can be grouped, charted and exported without a word of code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.model import Better, Metric, Results, Run, Trial, Unit

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
    """Lays out runs and trials as tables, in the order they were measured."""
    metrics = _metrics(results)
    rows = [row for result in results for row in _trial_rows(result)]
    trials = [fields for fields, _ in rows]
    samples = [
        {**fields, "metric": s.metric, "labels": text_of(s.labels), "unit": metrics[s.metric].unit, "value": s.value}
        for fields, trial in rows
        for s in trial.samples
    ]
    absent = [
        {**fields, "metric": metric, "labels": "", "unit": _unit(metrics, metric), "reason": reason, "value": None}
        for fields, trial in rows
        for metric, reason in sorted(trial.absent.items())
    ]
    return Tidy(
        runs=tuple(result.run for result in results),
        notes=tuple(note for result in results for note in result.notes),
        metrics=metrics,
        samples=_frame(samples, SAMPLE_COLUMNS),
        trials=_frame(trials, TRIAL_COLUMNS),
        absent=_frame(absent, SAMPLE_COLUMNS),
    )


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
    """Every metric by name. One that a run measured without defining it gets no unit and no direction."""
    found: dict[str, Metric] = {}
    for result in results:
        for scenario in result.run.scenarios:
            for metric in scenario.metrics:
                found.setdefault(metric.name, metric)
    for name in sorted({s.metric for result in results for trial in result.trials for s in trial.samples}):
        found.setdefault(name, Metric(name=name, unit=Unit.RATIO, better=Better.NEITHER, meaning=""))
    return found


def _unit(metrics: Mapping[str, Metric], name: str) -> str:
    return metrics[name].unit if name in metrics else ""


def _trial_rows(result: Results) -> Iterator[tuple[dict[str, object], Trial]]:
    for index, trial in enumerate(result.trials):
        cell = trial.step.cell
        yield (
            {
                "run": result.run.id,
                "scenario": cell.scenario,
                "runtime": cell.runtime,
                "params": text_of(cell.params),
                "twin": cell.twin,
                "block": trial.step.block,
                "position": trial.step.position,
                "index": index,
                "warmup": trial.step.warmup,
                "outcome": trial.outcome.value,
                "emulated": emulated(result.run, cell.runtime),
                "taints": "; ".join(trial.taints),
                "reason": trial.reason or trial.step.skip,
                "started_at": trial.started_at,
                "elapsed_s": trial.elapsed_s,
                "settle_s": trial.settle_s,
            },
            trial,
        )


def _frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame([[row.get(column) for column in columns] for row in rows], columns=list(columns))
    booleans = [column for column in ("twin", "warmup", "emulated") if column in columns]
    numbers = [column for column in ("block", "position", "index") if column in columns]
    return frame.astype({**dict.fromkeys(booleans, "bool"), **dict.fromkeys(numbers, "int64")})

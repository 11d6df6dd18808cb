"""Results as tables: one row per sample, one row per trial. Nothing else in this room reads a trial.

Wide and narrow runs look the same here: parameters and labels become one stable string each, so that any scenario a
plug-in brings can be grouped, charted and exported without a word of code.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.columns import CANARY, Columns, Words, columns_of, text_of
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
SAMPLE_COLUMNS = [*TRIAL_COLUMNS, "metric", "labels", "unit", "value"]


@dataclass(frozen=True, kw_only=True)
class Tidy:
    """Some runs and their trials. `absent` holds what a box could not supply, with the reason in `reason`."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    metrics: Mapping[str, Metric]
    samples: pd.DataFrame
    trials: pd.DataFrame
    """`CANARY` is a column of the trials alone."""
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
    """Lays tables over the columns of runs, in the order they were measured."""
    metrics = _metrics(results)
    parts = [(result.run, columns_of(result.trials)) for result in results]
    for name in sorted({name for _, columns in parts for name in columns.sample_metric.words} - set(metrics)):
        metrics[name] = Metric(name=name, unit=Unit.RATIO, better=Better.NEITHER, meaning="")
    tables = [_tables(run, columns, metrics) for run, columns in parts]
    trials, samples, absent = (_joined(list(same)) for same in zip(*tables, strict=True))
    return Tidy(
        runs=tuple(result.run for result in results),
        notes=tuple(note for result in results for note in result.notes),
        metrics=metrics,
        samples=samples,
        trials=trials,
        absent=absent,
    )


def _tables(run: Run, columns: Columns, metrics: Mapping[str, Metric]) -> tuple[pd.DataFrame, ...]:
    """Of one run: its trials; its samples with the columns of their trials beside them; what was absent, likewise."""
    trials = _trials(run, columns)
    c = columns
    samples = _of_trials(trials, c.sample_trial, c.sample_metric, metrics, {"labels": _words(c.sample_labels)})
    samples["value"] = np.asarray(c.value)
    nameless = _word("", len(c.absent_trial))
    absent = _of_trials(trials, c.absent_trial, c.absent_metric, metrics, {"labels": nameless})
    # The reason a box gives takes the place of the trial's.
    return trials, samples, absent.assign(reason=_words(c.absent_reason), value=math.nan)


def _trials(run: Run, columns: Columns) -> pd.DataFrame:
    """One row a trial."""
    c = columns
    cell = np.asarray(c.cell)
    named: Mapping[str, list[str]] = {
        "scenario": [one.scenario for one in c.cells],
        "runtime": [one.runtime for one in c.cells],
        "params": [text_of(one.params) for one in c.cells],
    }
    flags = {"twin": [one.twin for one in c.cells], "emulated": [emulated(run, one.runtime) for one in c.cells]}
    found: dict[str, object] = {"run": _word(run.id, len(c))}
    found |= {name: _taken(words, cell) for name, words in named.items()}
    found |= {name: np.asarray(values, dtype=bool)[cell] for name, values in flags.items()}
    found |= {"block": np.asarray(c.block), "position": np.asarray(c.position), "index": np.arange(len(c))}
    found |= {"warmup": np.asarray(c.warmup).astype(bool)}
    found |= {name: _words(getattr(c, name)) for name in ("outcome", "taints", "reason", "started_at")}
    found |= {name: np.asarray(getattr(c, name)) for name in ("elapsed_s", "settle_s", CANARY)}
    return pd.DataFrame({name: found[name] for name in [*TRIAL_COLUMNS, CANARY]})


def _of_trials(
    trials: pd.DataFrame,
    row: array[int],
    metric: Words,
    metrics: Mapping[str, Metric],
    labels: Mapping[str, pd.Series[str]],
) -> pd.DataFrame:
    """The trials' columns beside what was found in them."""
    table = trials[TRIAL_COLUMNS].take(np.asarray(row)).reset_index(drop=True)
    units = [str(_unit(metrics, name)) for name in metric.words]
    return table.assign(metric=_words(metric), **labels, unit=_taken(units, np.asarray(metric.codes)))


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


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


def _words(column: Words) -> pd.Series[str]:
    return _taken(column.words, np.asarray(column.codes))


def _word(word: str, count: int) -> pd.Series[str]:
    return _taken([word], np.zeros(count, dtype=np.int64))


def _taken(words: Sequence[str], codes: npt.NDArray[np.int64]) -> pd.Series[str]:
    """A million words, few of them different: each is made once."""
    return pd.Series(pd.array(np.asarray(words, dtype=object), dtype="str").take(codes))

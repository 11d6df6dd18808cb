"""Everything a report may say about some runs, worked out once: the one step between a results file and a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.model import Outcome, Results
from reports import tidy
from reports.answers import Answer, answers
from reports.caveats import Caveat, caveats
from reports.claims import ClaimRow, claims
from reports.compare import Comparison, Comparisons, compare
from reports.summary import Floats, Places, Series, Summary, split, summarise
from reports.tidy import CELL, Tidy

LOST = (Outcome.FAILED.value, Outcome.TIMEOUT.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What was measured of a series, in order: values, blocks, numbers of trials, and what taints each (or nothing)."""

    values: Floats
    blocks: Places
    indices: Places
    taints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Data, summaries, comparisons, and what they amount to in words."""

    tidy: Tidy
    summaries: tuple[Summary, ...]
    comparisons: Comparisons
    answers: tuple[Answer, ...]
    claims: tuple[ClaimRow, ...]
    caveats: tuple[Caveat, ...]

    @cached_property
    def compared(self) -> Mapping[Series, Comparison]:
        """Each series with its comparison."""
        return {one.series: one for one in self.comparisons.made}

    @cached_property
    def absences(self) -> Mapping[tuple[str, str, str, str], str]:
        """Run, scenario, runtime and metric → why that box has no such thing."""
        keys = ["run", "scenario", "runtime", "metric"]
        first = self.tidy.absent.drop_duplicates(keys)
        return dict(zip(first[keys].itertuples(index=False, name=None), map(str, first["reason"]), strict=True))

    @cached_property
    def tried(self) -> frozenset[tuple[str, str, str]]:
        """Run, scenario and runtime of every cell that has a trial, good or bad."""
        return frozenset(self.tidy.trials[CELL[:3]].drop_duplicates().itertuples(index=False, name=None))

    @cached_property
    def losses(self) -> Mapping[tuple[str, str, str], str]:
        """Run, scenario and runtime → what first went wrong there, or why it was skipped."""
        bad = self.tidy.trials[self.tidy.trials["outcome"] != "ok"].drop_duplicates(CELL[:3])
        words = [f"{o}: {why}".removesuffix(": ") for o, why in zip(bad["outcome"], bad["reason"], strict=True)]
        return dict(zip(bad[CELL[:3]].itertuples(index=False, name=None), words, strict=True))

    @cached_property
    def points(self) -> Mapping[Series, Points]:
        """Each series with every sample that counts."""
        measured = self.tidy.measured()
        table = measured[~measured["twin"]]
        values, blocks = table["value"].to_numpy(float), table["block"].to_numpy("int64")
        indices, taints = table["index"].to_numpy("int64"), table["taints"].to_numpy(object)
        return {
            series: Points(
                values=values[rows], blocks=blocks[rows], indices=indices[rows], taints=tuple(taints[rows].tolist())
            )
            for series, rows in split(table)
        }

    @cached_property
    def lost(self) -> pd.DataFrame:
        """Trials that went wrong; warm-up and twin apart."""
        trials = self.tidy.trials
        return trials[~trials["twin"] & ~trials["warmup"] & trials["outcome"].isin(LOST)]

    @cached_property
    def by_cell(self) -> Mapping[tuple[str, str, str, str], tuple[Summary, ...]]:
        """Run, scenario, runtime and metric → what was measured there."""
        found: dict[tuple[str, str, str, str], list[Summary]] = {}
        for one in self.summaries:
            s = one.series
            found.setdefault((s.run, s.scenario, s.runtime, s.metric), []).append(one)
        return {key: tuple(summaries) for key, summaries in found.items()}


def analyse(results: Sequence[Results]) -> Analysis:
    """Pure and repeatable: the same files give the same analysis, to the last bit."""
    data = tidy.read(results)
    summaries = summarise(data)
    comparisons = compare(data)
    return Analysis(
        tidy=data,
        summaries=summaries,
        comparisons=comparisons,
        answers=answers(data, summaries, comparisons),
        claims=claims(data, summaries, comparisons),
        caveats=caveats(data, summaries, comparisons),
    )

"""Everything a report may say about some runs, worked out once: the one step between a results file and a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model import Results
from reports import tidy
from reports.answers import Answer, answers
from reports.caveats import Caveat, caveats
from reports.claims import ClaimRow, claims
from reports.compare import Comparisons, compare
from reports.summary import Summary, summarise
from reports.tidy import Tidy


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Data, summaries, comparisons, and what they amount to in words."""

    tidy: Tidy
    summaries: tuple[Summary, ...]
    comparisons: Comparisons
    answers: tuple[Answer, ...]
    claims: tuple[ClaimRow, ...]
    caveats: tuple[Caveat, ...]


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

"""Why a report has nothing to say: an honest sentence where the answers would stand."""

from __future__ import annotations

from harness.model import Outcome
from reports.analysis import Analysis

_WORDS = {Outcome.FAILED: "failed", Outcome.TIMEOUT: "ran out of time", Outcome.SKIPPED: "were skipped"}


def nothing(analysis: Analysis) -> str:
    """What kept everything from being compared; empty where something was."""
    if analysis.answers:
        return ""
    if not analysis.summaries:
        counts = {word: int((analysis.tidy.trials["outcome"] == kind.value).sum()) for kind, word in _WORDS.items()}
        parts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        return f"Nothing was measured: of the trials {parts}. The doubts say why." if parts else "Nothing was measured."
    measured = {summary.series.runtime for summary in analysis.summaries}
    references = {run.config.reference for run in analysis.tidy.runs}
    if measured <= references:
        named = " and ".join(sorted(measured))
        return f"Nothing could be compared: only {named} was measured, which others are compared with."
    if not measured & references:
        named = " and ".join(sorted(references))
        return f"Nothing could be compared: {named} was not measured, and everything is a ratio to it."
    return "Nothing could be compared: no box was measured in the same question as the reference."

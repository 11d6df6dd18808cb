"""The answers as one page that needs nothing else: no network, no second file, and the raw data inside."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.model import Results, Run, Unit
from reports import answers, csv, page, resample, together, units, verdicts
from reports.analysis import Analysis, analyse
from reports.answers import Answer
from reports.blanks import nothing
from reports.claims import CONTAINER, MACHINE, Standing, evidence_of
from reports.glance import glances
from reports.kinds import kinds
from reports.literature import papers
from reports.pairs import Pair, pairs
from reports.palette import styles
from reports.panels import questions
from reports.summary import SMALLEST_N
from reports.systems import systems
from reports.tables import MARKS, brief, unmeasured
from reports.tidy import runtimes
from reports.verdicts import SMALLEST_BLOCKS, Verdict

MOST_SENTENCES = 24
"""Beyond these the sentences are folded away: the table says the same in less room."""
LIBRARIES = ("numpy", "pandas", "scipy", "plotly", "jinja2")


@dataclass(frozen=True, slots=True)
class HtmlReport:
    """One self-contained page."""

    name: str = "html"
    suffix: str = ".html"

    def render(self, results: Sequence[Results]) -> str:
        with _uncollected():
            analysis = analyse(results)
            return page.render("page.html", _shown(results, analysis) | _ways())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: a page is millions of small objects that all live until it is done."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _shown(results: Sequence[Results], analysis: Analysis) -> dict[str, Any]:
    """What is different in every page."""
    runs = analysis.tidy.runs
    looks = styles(runs)
    against, asked = pairs(analysis, looks), questions(analysis, looks)
    return {
        "version": runs[0].version,
        "analysis": analysis,
        "runs": runs,
        "glances": glances(analysis),
        "kinds": kinds(looks),
        "nothing": nothing(analysis),
        "pairs": against,
        "between": _between(analysis, against),
        "first_look": _first_look(analysis),
        "answered": _by_question(analysis.answers),
        "beside": together.beside(analysis),
        "questions": asked,
        "anchors": {(one.run.id, one.scenario.name): one.anchor for one in asked},
        "papers": papers(analysis),
        "styles": looks,
        "emulated": _emulated(analysis),
        "facts": _facts(runs),
        "filters": _filters(analysis),
        "downloads": _downloads(results, analysis),
        "systems": systems(analysis.tidy),
    }


def _ways() -> dict[str, Any]:
    """How the templates say things."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "libraries": versions | {"Python": platform.python_version()},
        "Standing": Standing,
        "margin_text": answers.margin_text,
        "side_by_side": together.shown,
        "marks": MARKS,
        "brief": brief,
        "smallest_blocks": SMALLEST_BLOCKS,
        "verdicts": verdicts,
        "resample": resample,
        "units": units,
        "smallest_n": SMALLEST_N,
        "unmeasured": unmeasured,
        "most_sentences": MOST_SENTENCES,
        "anchor": page.anchor,
        "heading": page.heading,
    }


def _by_question(found: Sequence[Answer]) -> list[Answer]:
    """Several runs' sentences about one question stand together."""
    order = list(dict.fromkeys(answer.scenario for answer in found))
    return sorted(found, key=lambda answer: order.index(answer.scenario))


def _between(analysis: Analysis, against: Sequence[Pair]) -> list[Answer]:
    """What the machines of the last run cost beside its containers, question by question."""
    evidence = evidence_of(analysis.tidy, analysis.summaries, analysis.comparisons)
    containers, machines = evidence.boxes(CONTAINER), evidence.boxes(MACHINE)
    found = [
        answer
        for pair in against
        if pair.run.id == evidence.run.id and pair.base in containers and pair.runtime in machines and not pair.emulated
        for answer in pair.answers
    ]
    return _by_question(found)


def _first_look(analysis: Analysis) -> bool:
    """Nothing that is sampled has the blocks for a verdict."""
    sampled = [one.verdict for one in analysis.comparisons.made if not one.exact]
    return bool(sampled) and all(verdict in (Verdict.TOO_FEW, Verdict.NO_DIRECTION) for verdict in sampled)


def _filters(analysis: Analysis) -> dict[str, list[str]]:
    """What a reader may choose: boxes, their parameters where they vary, and questions."""
    samples = analysis.tidy.samples
    asked = [name for run in analysis.tidy.runs for name in runtimes(run)]
    measured = set(samples["runtime"].unique())
    profiles = sorted({str(params) for params in samples["params"].unique()} - {""})
    return {
        "runtimes": [name for name in dict.fromkeys(asked) if name in measured],
        "profiles": profiles if len(profiles) > 1 else [],
        "scenarios": list(map(str, samples["scenario"].unique())),
    }


def _emulated(analysis: Analysis) -> tuple[str, ...]:
    measured = analysis.tidy.samples
    return tuple(map(str, measured.loc[measured["emulated"], "runtime"].unique()))


def _facts(runs: Sequence[Run]) -> list[tuple[str, list[str], bool]]:
    """What is known of the hosts, a row a fact: its name, one value a run, and whether the runs differ in it."""
    names = dict.fromkeys(name for run in runs for name in run.host)
    rows = [(name, [_fact(name, run.host.get(name)) for run in runs]) for name in names]
    return [(_title(name), values, len(set(values)) > 1) for name, values in rows]


def _title(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_s").replace("_", " ")


def _fact(name: str, value: Any) -> str:
    if value is None:
        return units.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    unit = {"bytes": Unit.BYTES, "s": Unit.SECONDS}.get(name.rpartition("_")[2])
    if unit and isinstance(value, int | float):
        return units.value(float(value), unit)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value) or "none"


def _downloads(results: Sequence[Results], analysis: Analysis) -> Mapping[str, str]:
    """File name → its bytes, compressed and in base64: what a run's folder holds, and the flat table."""
    found = {"samples.csv": csv.table(analysis.tidy).encode()}
    for result in results:
        prefix = f"{result.run.id}-" if len(results) > 1 else ""
        found[f"{prefix}run.json"] = msgspec.json.format(msgspec.json.encode(result.run), indent=1)
        found[f"{prefix}trials.jsonl"] = b"".join(msgspec.json.encode(trial) + b"\n" for trial in result.trials)
    return {name: page.packed(data) for name, data in found.items()}


html = HtmlReport()

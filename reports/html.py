"""The answers as one page that needs nothing else: no network, no second file, and the raw data inside.

plotly.js is embedded once; every figure is JSON beside it. The page forbids itself any request (a content policy), so
that it can be mailed, archived and opened on a machine without a network.
"""

from __future__ import annotations

import base64
import gzip
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.model import Results, Run, Unit
from reports import answers, compare, csv, units
from reports.analysis import Analysis, analyse
from reports.claims import Standing
from reports.palette import styles
from reports.panels import questions
from reports.summary import SMALLEST_N
from reports.systems import systems
from reports.tables import MARKS, unmeasured

LIBRARIES = ("numpy", "pandas", "scipy", "plotly", "jinja2")


@dataclass(frozen=True, slots=True)
class HtmlReport:
    """One self-contained page."""

    name: str = "html"
    suffix: str = ".html"

    def render(self, results: Sequence[Results]) -> str:
        analysis = analyse(results)
        runs = analysis.tidy.runs
        looks = styles(runs)
        return (
            _environment()
            .get_template("page.html")
            .render(
                analysis=analysis,
                runs=runs,
                questions=questions(analysis, looks),
                styles=looks,
                emulated=_emulated(analysis),
                facts=_facts(runs),
                downloads=_downloads(results, analysis),
                libraries={name: importlib.metadata.version(name) for name in LIBRARIES}
                | {"Python": platform.python_version()},
                plotly=Markup(get_plotlyjs()),
                css=Markup(_resource("page.css")),
                script=Markup(_resource("page.js")),
                Standing=Standing,
                margin_text=answers.margin_text,
                marks=MARKS,
                compare=compare,
                units=units,
                smallest_n=SMALLEST_N,
                systems=systems(analysis.tidy),
                unmeasured=unmeasured,
            )
        )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    return environment


def _embedded(document: str) -> Markup:
    """JSON inside a script element: a `<` in a string could end the element, so none is left."""
    return Markup(document.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _resource(name: str) -> str:
    return (resources.files("reports.templates") / name).read_text(encoding="utf-8")


def _emulated(analysis: Analysis) -> tuple[str, ...]:
    measured = analysis.tidy.samples
    return tuple(dict.fromkeys(measured.loc[measured["emulated"], "runtime"]))


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
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _downloads(results: Sequence[Results], analysis: Analysis) -> Mapping[str, str]:
    """File name → its bytes, compressed and in base64: what a run's folder holds, and the flat table."""
    found = {"samples.csv": csv.table(analysis.tidy).encode()}
    for result in results:
        prefix = f"{result.run.id}-" if len(results) > 1 else ""
        found[f"{prefix}run.json"] = msgspec.json.format(msgspec.json.encode(result.run), indent=1)
        found[f"{prefix}trials.jsonl"] = b"".join(msgspec.json.encode(trial) + b"\n" for trial in result.trials)
    # mtime=0: the same results give the same page.
    return {name: base64.b64encode(gzip.compress(data, 9, mtime=0)).decode() for name, data in found.items()}


html = HtmlReport()

"""The page: whole, safe, offline and small, without opening it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec
import plotly.graph_objects as go
import pytest

from harness.model import Results, Run, Trial
from reports.csv import csv
from reports.html import html
from tests.reports.planted import Planting, plant

MEGABYTES = 5.5


@pytest.fixture(scope="module")
def page(golden: Results) -> str:
    return html.render([golden])


class _Reader(HTMLParser):
    """Collects tags, script texts and visible text as a browser would split them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts and self.scripts[-1][1] == "":
            self.scripts[-1] = (self.scripts[-1][0], data)
        else:
            self.text += data


def _figures(page: str) -> Iterator[dict[str, Any]]:
    for attributes, script in _Reader(page).scripts:
        if "data-chart" in attributes:
            yield json.loads(script)


def test_it_is_small_and_quick(golden: Results, page: str) -> None:
    assert len(page.encode()) < MEGABYTES * 1e6
    began = time.process_time()  # of this process alone: other tests may keep the machine busy
    html.render([golden])
    assert time.process_time() - began < 2


def test_the_same_results_give_the_same_page(golden: Results, page: str) -> None:
    assert html.render([golden]) == page


def test_nothing_is_fetched(page: str) -> None:
    reader = _Reader(page)
    for tag, attributes in reader.tags:
        assert not {"src", "srcset", "action"} & set(attributes), tag
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for t, a in reader.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    css = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert css and "url(" not in css[1] and "@import" not in css[1]


def test_nothing_in_a_run_can_escape(page: str) -> None:
    assert "<script>alert(1)" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "Planted CPU &lt;2 GHz&gt;" in page
    # One script a figure and a file, plotly.js and our own: nothing was added.
    kinds = [attributes.get("type") for attributes, _ in _Reader(page).scripts]
    assert kinds.count(None) == 2
    assert set(kinds) == {None, "application/json", "application/gzip;base64"}


def test_every_figure_fits_plotlys_schema(page: str) -> None:
    figures = list(_figures(page))
    assert len(figures) > 20
    for figure in figures:
        go.Figure(figure)


def test_every_runtime_has_one_colour(page: str) -> None:
    colours: dict[str, set[str]] = {}
    for figure in _figures(page):
        for trace in figure["data"]:
            if isinstance(trace.get("hovertext"), list) and trace["hovertext"]:
                colour = trace["marker"]["color"]
                names = [text.split("<")[0].split(":")[0].split(",")[0].split(" ")[0] for text in trace["hovertext"]]
                every = colour if isinstance(colour, list) else [colour] * len(names)
                for name, one in zip(names, every, strict=True):
                    colours.setdefault(name, set()).add(one)
    assert set(colours) == {"native", "container", "tcg"}
    assert all(len(found) == 1 for found in colours.values())


def test_emulation_is_never_drawn_beside_hardware(page: str) -> None:
    for figure in _figures(page):
        boxes = {
            text.split("<")[0].split(" ")[0].strip(":,") for t in figure["data"] for text in t.get("hovertext", [])
        }
        assert boxes == {"tcg"} or "tcg" not in boxes


def test_the_data_inside_is_the_data(golden: Results, page: str) -> None:
    found = {
        attributes["data-name"]: gzip.decompress(base64.b64decode(script))
        for attributes, script in _Reader(page).scripts
        if "data-name" in attributes
    }
    assert msgspec.json.decode(found["run.json"], type=Run) == golden.run
    lines = found["trials.jsonl"].splitlines()
    assert tuple(msgspec.json.decode(line, type=Trial) for line in lines) == golden.trials
    assert found["samples.csv"].decode() == csv.render([golden])


def test_the_order_is_answer_claim_questions_method_doubts_data(page: str) -> None:
    ids = [a["id"] for t, a in _Reader(page).tags if t == "section"]
    assert ids == ["answers", "claims", "q1", "q2", "q3", "q4", "method", "host", "doubts", "again", "data"]
    assert page.index('class="banner"') < page.index('id="answers"')


def test_every_picture_has_words(page: str) -> None:
    charts = [a for t, a in _Reader(page).tags if a.get("role") == "img"]
    assert charts
    assert all(len(a.get("aria-label") or "") > 20 for a in charts)


def test_a_run_without_emulation_has_no_banner() -> None:
    assert 'class="banner"' not in html.render([plant(Planting(ratios={"box": 2.0}))])


def test_two_runs_show_where_their_hosts_differ() -> None:
    runs = [plant(Planting(ratios={"box": 2.0}, seed=seed)) for seed in (1, 2)]
    hosts = [
        msgspec.structs.replace(r, run=msgspec.structs.replace(r.run, host={"kernel": k, "cpus": 4}))
        for r, k in zip(runs, ("6.1", "6.2"), strict=True)
    ]
    page = html.render(hosts)
    assert page.count('class="differs"') == 1
    assert "planted-1-run.json" in page and "planted-2-trials.jsonl" in page


def test_an_empty_run_still_makes_a_page() -> None:
    assert "Nothing could be compared" in html.render([Results(run=plant(Planting(ratios={})).run, trials=())])

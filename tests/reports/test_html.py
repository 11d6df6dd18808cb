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
from plotly.offline import get_plotlyjs

from harness.model import Results, Run, Trial
from reports.csv import csv
from reports.html import html
from reports.marks import LOST
from tests.reports.planted import Planting, plant

MEGABYTES = 2.4


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
            yield json.loads(gzip.decompress(base64.b64decode(script)))


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
    # One script a figure, a file and the packed library, and our own two: nothing was added.
    kinds = [attributes.get("type") for attributes, _ in _Reader(page).scripts]
    assert kinds.count(None) == 2
    assert set(kinds) == {None, "application/gzip;base64"}


def test_the_library_is_inside_once_as_its_package_brings_it(page: str) -> None:
    (packed,) = (script for attributes, script in _Reader(page).scripts if attributes.get("id") == "plotly")
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_every_figure_fits_plotlys_schema(page: str) -> None:
    figures = list(_figures(page))
    assert len(figures) > 20
    for figure in figures:
        go.Figure(figure)


def test_every_runtime_has_one_colour(page: str) -> None:
    colours: dict[str, set[str]] = {}
    for figure in _figures(page):
        rows = figure["layout"].get("meta", {}).get("rows", {})
        for trace in figure["data"]:
            if trace["type"] == "bar":
                keys = [rows["yaxis" + trace.get("yaxis", "y")[1:]][y] for y in trace["y"]]
                every = trace["marker"]["color"]
            else:
                keys, every = [trace["meta"]["key"]], [trace.get("marker", trace.get("line", {})).get("color")]
            for key, one in zip(keys, every, strict=True):
                if one != LOST:
                    colours.setdefault(key.split("|")[0], set()).add(one)
    assert set(colours) == {"native", "container", "tcg"}
    assert all(len(found) == 1 for found in colours.values())


def test_emulation_is_never_drawn_beside_hardware(page: str) -> None:
    for figure in _figures(page):
        rows = [key for keys in figure["layout"].get("meta", {}).get("rows", {}).values() for key in keys]
        keys = [*rows, *(trace["meta"]["key"] for trace in figure["data"] if "meta" in trace)]
        boxes = {key.split("|")[0] for key in keys}
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
    questions = ["boot", "memory", "disk", "cpu"]
    end = ["papers", "method", "host", "doubts", "again", "data"]
    assert ids == ["answers", "claims", "tradeoff", *questions, *end]
    assert page.index('class="banner"') < page.index('id="answers"')


def test_every_picture_has_words(page: str) -> None:
    charts = [a for t, a in _Reader(page).tags if a.get("class") == "chart"]
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


def test_links_lead_somewhere(page: str) -> None:
    reader = _Reader(page)
    ids = [a["id"] for _, a in reader.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    targets = {(a.get("href") or "")[1:] for t, a in reader.tags if t == "a"}
    assert len(targets) > 10 and targets <= set(ids)


def test_a_row_is_told_by_runtime_and_parameters(page: str) -> None:
    keys = {a["data-key"] for t, a in _Reader(page).tags if t == "tr" and "data-key" in a}
    assert "container|" in keys and "container|size=small" in keys


def test_every_failure_is_in_the_picture(page: str) -> None:
    axes = [part for figure in _figures(page) for name, part in figure["layout"].items() if name.startswith("yaxis")]
    words = [word for axis in axes for word in axis.get("ticktext", [])]
    assert any(word.endswith(", 1 lost") for word in words)
    crosses = [t for figure in _figures(page) for t in figure["data"] if t.get("marker", {}).get("color") == LOST]
    assert {trace["meta"]["key"] for trace in crosses} == {"container|", "tcg|"}
    assert all("&lt;/script&gt;" in trace["hovertext"][0] for trace in crosses if trace["meta"]["key"] == "tcg|")


def test_a_share_of_all_trials_counts_the_lost_ones(page: str) -> None:
    steps = [t for f in _figures(page) for t in f["data"] if t.get("line", {}).get("shape") == "hv"]
    reached = {trace["meta"]["key"]: trace["y"][-1] for trace in steps}
    assert reached == {"native|": 1, "container|": 1, "tcg|": pytest.approx(11 / 12)}


def test_an_empty_run_still_makes_a_page() -> None:
    assert "Nothing was measured" in html.render([Results(run=plant(Planting(ratios={})).run, trials=())])

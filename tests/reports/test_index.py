"""The page over all runs: every run has its line, every headline its history."""

from __future__ import annotations

import re

import msgspec

from harness.model import Results
from reports import tidy
from reports.index import histories, index
from reports.summary import summarise
from tests.reports.planted import Planting, plant


def _on(results: Results, day: int, kernel: str) -> Results:
    run = msgspec.structs.replace(results.run, started_at=f"2026-01-{day:02d}T03:00:00Z", host={"kernel": kernel})
    return msgspec.structs.replace(results, run=run)


def _three() -> list[Results]:
    made = [plant(Planting(ratios={"box": ratio}, seed=seed)) for seed, ratio in ((1, 2.0), (2, 2.1), (3, 4.0))]
    return [_on(one, day, kernel) for one, day, kernel in zip(made, (3, 1, 2), ("6.1", "6.1", "6.2"), strict=True)]


def test_every_run_has_a_line_oldest_first() -> None:
    page = index.render(_three())
    runs = re.findall(r'<tr><th scope="row"><code>(planted-\d)</code></th><td>2026', page)
    assert runs == ["planted-2", "planted-3", "planted-1"]


def test_a_history_has_a_value_a_run_and_box() -> None:
    data = tidy.read(sorted(_three(), key=lambda one: one.run.started_at))
    (history,) = histories(data, summarise(data))
    assert history.boxes == ("native", "box")
    assert [len(values) for _, values in history.rows] == [2, 2, 2]
    assert len(history.charts) == 1
    figure = msgspec.json.decode(history.charts[0].json)
    assert [trace["x"] for trace in figure["data"]] == [[0, 1, 2], [0, 1, 2]]


def test_where_the_host_changed_is_marked_and_said() -> None:
    data = tidy.read(sorted(_three(), key=lambda one: one.run.started_at))
    (history,) = histories(data, summarise(data))
    assert [shape["x0"] for shape in msgspec.json.decode(history.charts[0].json)["layout"]["shapes"]] == [0.5, 1.5]
    assert "planted-3 and planted-2 differ in kernel" in index.render(_three())


def test_emulation_has_a_chart_of_its_own(golden: Results) -> None:
    data = tidy.read([golden])
    boot = next(h for h in histories(data, summarise(data)) if h.metric.name == "boot.ready")
    assert len(boot.charts) == 2 and "emulation" in boot.charts[1].title


def test_nothing_in_a_run_can_escape(golden: Results) -> None:
    run = msgspec.structs.replace(golden.run, id="x<script>alert(1)</script>")
    page = index.render([golden, msgspec.structs.replace(golden, run=run)])
    assert "<script>alert" not in page


def test_a_run_without_a_value_has_a_line() -> None:
    assert "No run has measured anything yet" in index.render([Results(run=plant(Planting(ratios={})).run, trials=())])

"""What stands around the questions: the glance, pairs, several runs side by side, and the papers."""

from __future__ import annotations

import msgspec
import pytest

from harness.model import Better, Metric, Results, Run, Support, Unit
from reports import literature
from reports.analysis import Analysis, analyse
from reports.differences import differing
from reports.glance import glances
from reports.pairs import pairs
from reports.palette import styles
from reports.together import beside, shown
from reports.verdicts import Verdict
from tests.reports.planted import Planting, plant


def _pairs(*results: Results) -> dict[tuple[str, str], object]:
    analysis = analyse(results)
    return {(pair.base, pair.runtime): pair for pair in pairs(analysis, styles(analysis.tidy.runs))}


def test_a_glance_has_every_box_and_every_headline(analysed: Analysis) -> None:
    (glance,) = glances(analysed)
    assert [column.box for column in glance.columns] == ["native", "container", "tcg (emulation)"]
    names = [line.metric.name for line in glance.lines]
    assert names[:3] == ["boot.ready", "memory.pss", "disk.transfer"]
    assert all(len(line.cells) == 3 and line.cells[0] for line in glance.lines)


def test_two_boxes_are_set_against_each_other_with_their_true_ratio() -> None:
    analysis = analyse([plant(Planting(ratios={"one": 2.0, "two": 4.0}, sigma=0.01))])
    found = {(pair.base, pair.runtime): pair for pair in pairs(analysis, styles(analysis.tidy.runs))}
    assert set(found) == {("native", "one"), ("native", "two"), ("one", "two")}
    comparison = found["one", "two"].rows[0].comparison
    assert comparison and comparison.effect.estimate == pytest.approx(2.0, rel=0.05)
    assert comparison.verdict is Verdict.WORSE
    assert "2.0× as long as one" in found["one", "two"].answers[0].text


def test_nothing_is_compared_with_an_emulated_box(analysed: Analysis) -> None:
    found = pairs(analysed, styles(analysed.tidy.runs))
    assert {pair.base for pair in found} == {"native", "container"}
    assert all(pair.emulated is (pair.runtime == "tcg") for pair in found)
    assert all(pair.chart is None or "tcg" not in pair.chart.alt for pair in found if not pair.emulated)


def test_one_box_alone_makes_no_pair() -> None:
    assert _pairs(plant(Planting(ratios={}))) == {}


def test_several_runs_stand_side_by_side() -> None:
    analysis = analyse([plant(Planting(ratios={"box": 2.0}, seed=seed, sigma=0.0)) for seed in (1, 2)])
    lines = beside(analysis)
    assert [line.box for line in lines] == ["native", "box"]
    assert all(len(line.rows) == 2 for line in lines)
    assert shown(lines[1].rows[0]) == "2.00 s · 2.0× (2.0–2.0×)"
    assert shown(None) == "–"


def test_one_run_has_nothing_beside_it(analysed: Analysis) -> None:
    assert beside(analysed) == ()


def _changed(run: Run, change: dict[str, object]) -> Run:
    return msgspec.structs.replace(run, **change)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"host": {"kernel": "7"}}, "kernel"),
        ({"host": {"governor": "powersave"}}, "governor"),
        ({"host": {"cgroup_mode": "v1"}}, "cgroup mode"),
        ({"images": {}}, "image digest"),
        ({"supports": {"tcg": Support(available=True, version="QEMU 9")}}, "tcg version"),
    ],
)
def test_what_decides_a_number_is_named_when_it_differs(golden: Results, change: dict[str, object], word: str) -> None:
    assert word in differing(golden.run, _changed(golden.run, {"id": "other", **change}))


def test_equal_runs_differ_in_nothing(golden: Results) -> None:
    assert differing(golden.run, _changed(golden.run, {"id": "other", "seed": 5})) == []


def test_a_metric_that_means_something_else_is_named(golden: Results) -> None:
    first, *others = golden.run.scenarios
    metric = Metric(name="boot.ready", unit=Unit.SECONDS, better=Better.LOWER, meaning="something else")
    other = _changed(
        golden.run, {"id": "other", "scenarios": (msgspec.structs.replace(first, metrics=(metric,)), *others)}
    )
    assert differing(golden.run, other) == ["definition of boot.ready"]


def test_no_figure_lacks_its_interval_source_or_year() -> None:
    for record in literature.records():
        assert record.counts and record.source and record.host, record.what
        assert record.year.removeprefix("read in ").isdigit(), record.what
        assert record.figure[0] <= record.figure[1]


def test_only_what_counts_alike_stands_beside_this_host(analysed: Analysis) -> None:
    found = literature.papers(analysed)
    assert found
    for one in found:
        assert bool(one.record.differs) == one.why.startswith("not comparable")
        assert not (one.why and one.here)
    docker = next(one for one in found if one.record.what == "Docker, Linpack")
    assert docker.here == ("container 0.99×–1.61×",) or docker.here[0].startswith("container ")


def test_emulation_never_stands_beside_a_paper(analysed: Analysis) -> None:
    assert all("tcg" not in words for one in literature.papers(analysed) for words in one.here)

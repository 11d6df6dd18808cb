"""What may be compared, and what a limit says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness import gate, merging, rerun, store
from harness.errors import UsageError
from harness.gate import Side
from harness.model import Better, Image, Kernel, Metric, Prepared, Results, Support, Unit
from reports import tidy
from tests import fakes
from tests.reports.planted import Planting, plant

IMAGE = Image(name="tiny", digest="d1", content_digest="c", content_bytes=1, layers=(), root="/r")


@pytest.mark.parametrize(
    ("text", "size", "unit"),
    [
        ("boot.ready:10%", 0.1, None),
        ("boot.ready: 2.5 %", 0.025, None),
        ("boot.ready:5ms", 0.005, Unit.SECONDS),
        ("boot.*:200us", 0.0002, Unit.SECONDS),
        ("memory.pss:1MiB", 1 << 20, Unit.BYTES),
        ("*:0%", 0.0, None),
    ],
)
def test_a_limit_is_a_metric_and_how_much(text: str, size: float, unit: Unit | None) -> None:
    found = gate.limit(text)
    assert found.size == pytest.approx(size)
    assert found.unit is unit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "boot.ready",
        "boot.ready:",
        "boot.ready:ten",
        "boot.ready:10",
        "boot.ready:-5%",
        ":5%",
        "a:nan%",
        "a:5 parsec",
    ],
)
def test_a_limit_that_means_nothing_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is not METRIC:LIMIT"):
        gate.limit(text)


def test_a_limit_must_be_in_the_metrics_unit() -> None:
    metric = Metric(name="boot.ready", unit=Unit.SECONDS, better=Better.LOWER, meaning="")
    with pytest.raises(UsageError, match=r"is in B, but boot\.ready is in s"):
        gate.limit("boot.ready:1MiB").check(metric)


def run(seed: int = 1, **changes: Any) -> Results:
    results = plant(Planting(ratios={"box": 1.0}, seed=seed, blocks=6))
    values = {"images": {"tiny": IMAGE}, "host": {"kernel": "6.1", "cpu_model": "A", "host_id": "x"}}
    return msgspec.structs.replace(results, run=msgspec.structs.replace(results.run, **(values | changes)))


def kernel(digest: str) -> dict[str, Image]:
    guest = Kernel(version="6", path="/k", modules="/m", digest=digest)
    return {"tiny": msgspec.structs.replace(IMAGE, kernel=guest)}


SLOW = {"native": Support(available=True), "box": Support(available=True, emulated=True)}


@pytest.mark.parametrize(
    ("changes", "what", "decides"),
    [
        ({"host": {"kernel": "6.2", "cpu_model": "A", "host_id": "x"}}, "host kernel", True),
        ({"host": {"kernel": "6.1", "cpu_model": "B", "host_id": "x"}}, "host cpu_model", True),
        ({"host": {"kernel": "6.1", "cpu_model": "A", "host_id": "y"}}, "host host_id", True),
        (
            {"host": {"kernel": "6.1", "cpu_model": "A", "host_id": "x", "cgroup_mode": "v2"}},
            "host cgroup_mode",
            True,
        ),
        (
            {"host": {"kernel": "6.1", "cpu_model": "A", "host_id": "x", "governor": "powersave"}},
            "host governor",
            False,
        ),
        ({"images": {"tiny": msgspec.structs.replace(IMAGE, digest="d2")}}, "image digest", True),
        ({"images": kernel("k2")}, "guest kernel", True),
        ({"supports": SLOW}, "box is emulation", True),
        ({"documents": {"box": {"domain.xml": '<type machine="pc">hvm</type>'}}}, "box machine", True),
        ({"version": "9"}, "tare", False),
    ],
)
def test_what_differs_is_named_and_some_of_it_decides(changes: dict[str, Any], what: str, decides: bool) -> None:
    found = {one.what: one.decides for one in gate.differences(Side(run()), Side(run(2, **changes)))}
    assert found == {what: decides}


def test_a_metric_that_means_something_else_decides() -> None:
    one, two = run(), run(2)
    facts = two.run.scenarios[0]
    other = msgspec.structs.replace(facts, metrics=(msgspec.structs.replace(facts.metrics[0], meaning="other"),))
    changed = msgspec.structs.replace(two, run=msgspec.structs.replace(two.run, scenarios=(other,)))
    (found,) = gate.differences(Side(one), Side(changed))
    assert (found.what, found.decides) == ("definition of made.up", True)


def test_equal_runs_differ_in_nothing() -> None:
    assert gate.differences(Side(run()), Side(run(2))) == ()


def test_emulation_beside_hardware_in_one_run() -> None:
    slow = run(supports=SLOW)
    (found,) = gate.differences(Side(slow, "native"), Side(slow, "box"))
    assert (found.what, found.old, found.new, found.decides) == ("emulation on one side only", "native", "box", True)
    assert gate.differences(Side(run(), "native"), Side(run(), "box")) == ()


def test_sittings_become_one_run_with_its_blocks_in_a_row(tmp_path: Path) -> None:
    one, two = run(1), run(2)
    merged = store.read(merging.merge([one, two], tmp_path))
    assert merged.run.sessions == {one.run.id: 0, two.run.id: 6}
    assert sorted({trial.step.block for trial in merged.trials}) == list(range(12))
    assert [t.samples for t in merged.trials] == [t.samples for t in (*one.trials, *two.trials)]
    assert tidy.read([merged]).measured()["block"].nunique() == 12


@pytest.mark.parametrize(
    ("sittings", "says"),
    [
        ([run(1)], "two different runs"),
        ([run(1), run(1)], "two different runs"),
        ([run(1), run(2, host={"kernel": "6.2"})], "not sittings of one experiment"),
        ([run(1), run(2, sessions={"a": 0})], "cannot be merged again"),
    ],
)
def test_what_is_not_one_experiment_is_not_merged(tmp_path: Path, sittings: list[Results], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        merging.merge(sittings, tmp_path)
    assert not list(tmp_path.glob("runs/*"))


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store holds the old image."""
    monkeypatch.setattr(rerun, "image_of", lambda config, home: IMAGE)


def old_run(**changes: Any) -> Results:
    prepared = {name: Prepared(image=IMAGE, artifacts=()) for name in ("native", "box")}
    return run(config=fakes.config(image="tiny", **changes), prepared=prepared)


@pytest.mark.usefixtures("stored")
def test_the_old_side_is_what_its_boxes_were_given(tmp_path: Path) -> None:
    old = old_run(memory_bytes=1 << 27, options={"box.uri": "old"})
    config = rerun.with_base(fakes.config(runtimes=("native", "box|other", "new")), old, tmp_path)
    assert config.runtimes == ("native", "box|other", "new", "native@base", "box@base|other@base")
    assert config.options == {"box@base.uri": "old"}
    assert config.base_run == old.run.id
    assert rerun.side_of(config, "box@base").memory_bytes == 1 << 27
    assert rerun.side_of(config, "box").memory_bytes == config.memory_bytes


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("old", "wanted", "says"),
    [
        (old_run(), ("native",), "nothing that run .* gave its boxes differs"),
        (old_run(memory_bytes=1), ("stranger",), "measured none of stranger"),
        (run(sessions={"a": 0}), ("native",), "several sittings"),
        (
            msgspec.structs.replace(
                old_run(memory_bytes=1),
                run=msgspec.structs.replace(
                    old_run(memory_bytes=1).run, images={"tiny": msgspec.structs.replace(IMAGE, digest="gone")}
                ),
            ),
            ("native",),
            "no longer what tiny means here",
        ),
    ],
)
def test_an_old_side_that_cannot_run_is_an_error_and_no_guess(
    tmp_path: Path, old: Results, wanted: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        rerun.with_base(fakes.config(runtimes=wanted), old, tmp_path)

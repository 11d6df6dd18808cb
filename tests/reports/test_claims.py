"""The copied table, judged by planted data and never by a name."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from harness.model import Cell, Results, Support, Trial
from reports import tidy
from reports.analysis import Analysis
from reports.claims import ClaimRow, Standing, claims
from reports.compare import compare
from reports.summary import summarise
from tests.reports.golden import golden as planted_golden
from tests.reports.planted import trial

DAY = {"boot.ready": 0.02}


def _table(results: Results) -> Mapping[str, ClaimRow]:
    data = tidy.read([results])
    return {row.property: row for row in claims(data, summarise(data), compare(data))}


def _run(values: Mapping[str, Mapping[str, float]], blocks: int = 12, emulated: str = "") -> Results:
    """Boxes with constant values; a box with a kernel phase is a virtual machine."""
    run = msgspec.structs.replace(
        planted_golden().run,
        prepared={},
        config=msgspec.structs.replace(planted_golden().run.config, runtimes=tuple(values)),
        supports={name: Support(available=True, emulated=name == emulated) for name in values},
    )
    trials: list[Trial] = []
    for block in range(blocks):
        for name, metrics in values.items():
            trials += [trial(metric.split(".")[0], name, block, {metric: value}) for metric, value in metrics.items()]
            trials += [_twin(one) for one in trials[-len(metrics) :] if name == "native"]
    return Results(run=run, trials=tuple(trials))


def _twin(one: Trial) -> Trial:
    cell = one.step.cell
    twin = Cell(scenario=cell.scenario, runtime=cell.runtime, params=cell.params, twin=True)
    return msgspec.structs.replace(one, step=msgspec.structs.replace(one.step, cell=twin))


def test_the_golden_table(analysed: Analysis) -> None:
    rows = {row.property: row for row in analysed.claims}
    standings = {name: (row.container.standing, row.machine.standing) for name, row in rows.items()}
    assert standings == {
        "start-up": (Standing.HOLDS, Standing.FAILS),
        "delivery": (Standing.HOLDS, None),
        "performance": (Standing.PARTLY, Standing.UNMEASURED),
        "image size": (Standing.HOLDS, Standing.FAILS),
        "migration and scaling": (Standing.OPEN, None),
    }
    assert rows["performance"].container.note == "the work is integer or crypto, not fork"
    assert rows["performance"].machine.note == "only under emulation"
    assert rows["start-up"].machine.note == "judged under emulation, which can only be slower"
    assert all("emulation" in line for row in rows.values() for line in row.machine.measured)


@pytest.mark.parametrize(
    ("ready_s", "emulated", "standing"),
    [
        (90.0, "", Standing.HOLDS),
        (0.5, "", Standing.FAILS),
        (90.0, "machine", Standing.UNMEASURED),  # emulation may be why it took so long
        (3.0, "machine", Standing.FAILS),  # emulation is not why it was quick
    ],
)
def test_minutes(ready_s: float, emulated: str, standing: Standing) -> None:
    boxes = {"native": DAY, "machine": {"boot.ready": ready_s, "boot.phase.kernel": 0.1}}
    assert _table(_run(boxes, emulated=emulated))["start-up"].machine.standing is standing


def test_one_machine_in_minutes_and_one_in_seconds() -> None:
    boxes = {
        "native": DAY,
        "cloud": {"boot.ready": 90.0, "boot.phase.kernel": 0.1},
        "micro": {"boot.ready": 0.2, "boot.phase.kernel": 0.1},
    }
    cell = _table(_run(boxes))["start-up"].machine
    assert (cell.standing, cell.note) == (Standing.PARTLY, "the box is cloud, not micro")


def test_a_slow_container_refutes_seconds() -> None:
    assert _table(_run({"native": DAY, "box": {"boot.ready": 61.0}}))["start-up"].container.standing is Standing.FAILS


@pytest.mark.parametrize(
    ("factor", "blocks", "container", "machine"),
    [
        (1.0, 12, Standing.HOLDS, Standing.FAILS),
        (2.0, 12, Standing.FAILS, Standing.HOLDS),
        (2.0, 5, Standing.OPEN, Standing.OPEN),
    ],
)
def test_performance(factor: float, blocks: int, container: Standing, machine: Standing) -> None:
    boxes = {
        "native": {"cpu.integer.time": 1.0},
        "box": {"cpu.integer.time": factor},
        "machine": {"cpu.integer.time": factor, "memory.guest_resident": 1e6},
    }
    row = _table(_run(boxes, blocks))["performance"]
    assert (row.container.standing, row.machine.standing) == (container, machine)


def test_a_claim_does_not_hold_while_most_of_it_is_undecided() -> None:
    works = [f"cpu.{name}.time" for name in ("integer", "crypto")]
    results = _run({"native": dict.fromkeys(works, 1.0), "box": dict.fromkeys(works, 1.0)})
    noisy = tuple(_scatter(one) for one in results.trials)
    cell = _table(Results(run=results.run, trials=noisy))["performance"].container
    assert (cell.standing, cell.note) == (Standing.OPEN, "1 of 2 hold, the rest is undecided")
    assert len(cell.measured) == 1  # one line a box


def _scatter(one: Trial) -> Trial:
    """Every other crypto sample of the box takes a third longer."""
    if one.step.cell.runtime != "box" or one.step.block % 2:
        return one
    samples = tuple(
        msgspec.structs.replace(s, value=s.value * 4 / 3) if "crypto" in s.metric else s for s in one.samples
    )
    return msgspec.structs.replace(one, samples=samples)


def test_emulation_is_not_asked_where_hardware_was() -> None:
    slow, quick = {"boot.ready": 90.0, "boot.phase.kernel": 0.1}, {"boot.ready": 0.2, "boot.phase.kernel": 0.1}
    cell = _table(_run({"native": DAY, "kvm": quick, "tcg": slow}, emulated="tcg"))["start-up"].machine
    assert (cell.standing, cell.note) == (Standing.FAILS, "")
    assert [line.split(":")[0] for line in cell.measured] == ["kvm", "tcg (emulation)"]


def test_sizes_are_judged_by_what_travels() -> None:
    boxes = {
        "native": {"disk.transfer": 1e6},
        "box": {"disk.transfer": 2e9, "disk.content": 1.0},
        "machine": {"disk.transfer": 2e9, "memory.guest_resident": 1e6},
    }
    row = _table(_run(boxes))["image size"]
    assert (row.container.standing, row.machine.standing) == (Standing.FAILS, Standing.HOLDS)


def test_other_bytes_inside_refute_delivery() -> None:
    results = planted_golden()
    run = msgspec.structs.replace(results.run, digests_inside={"container": "sha256:other"})
    table = _table(Results(run=run, trials=results.trials))
    assert table["delivery"].container.standing is Standing.FAILS


def test_what_was_not_measured_is_said() -> None:
    table = _table(_run({"native": DAY}))
    for name in ("start-up", "performance", "image size", "migration and scaling"):
        assert table[name].container.standing is Standing.UNMEASURED

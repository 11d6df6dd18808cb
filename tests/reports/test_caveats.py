"""Each doubt is raised when there is reason to, and only then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from harness.model import Image, Outcome, Results, Trial
from reports.analysis import Analysis, analyse
from reports.caveats import Caveat, Level
from tests.reports.golden import golden as planted_golden
from tests.reports.planted import Planting, plant, trial


def _texts(results: Results) -> str:
    return "\n".join(caveat.text for caveat in analyse([results]).caveats)


def _change(results: Results, **changes: Any) -> Results:
    return msgspec.structs.replace(results, run=msgspec.structs.replace(results.run, **changes))


def test_a_clean_run_raises_none() -> None:
    assert analyse([plant(Planting(ratios={"box": 1.5}, sigma=0.02))]).caveats == ()


def test_the_golden_doubts(analysed: Analysis) -> None:
    found = [(caveat.level, caveat.scenario) for caveat in analysed.caveats]
    assert found == [
        (Level.ERROR, "cpu"),
        (Level.ERROR, "boot"),
        (Level.DOUBT, ""),
        (Level.DOUBT, "boot"),
        (Level.DOUBT, "boot"),
        (Level.NOTE, ""),
        (Level.NOTE, ""),
    ]
    assert all(caveat.text.endswith(".") for caveat in analysed.caveats)
    assert (
        Caveat(
            level=Level.NOTE,
            text="kvm was not measured in boot, memory, disk, cpu: /dev/kvm does not exist.",
            remedy="Load the kvm module.",
        )
        in analysed.caveats
    )


@pytest.mark.parametrize(
    ("planting", "doubt"),
    [
        (Planting(ratios={"box": 1.5}, blocks=3), "Only 3 measured blocks"),
        (Planting(ratios={"box": 1.5}, blocks=1), "Only 1 measured block:"),
        (
            Planting(ratios={"box": 1.5}, twin_ratio=1.2),
            "noise alone may be worth more than 5 %, as the reference and its A/A twin show: "
            "made.up 1.19× (1.16–1.21×).",
        ),
        (Planting(ratios={"box": 1.5}, sigma=0.3), "noise alone may be worth more than 5 %"),
        (Planting(ratios={"box": 9.0}, emulated=frozenset({"box"})), "box is emulation"),
    ],
)
def test_a_doubt_is_raised(planting: Planting, doubt: str) -> None:
    assert doubt in _texts(plant(planting))


def test_a_reference_without_a_twin() -> None:
    results = plant(Planting(ratios={"box": 1.5}))
    single = tuple(t for t in results.trials if not t.step.cell.twin)
    assert "made has no A/A twin" in _texts(msgspec.structs.replace(results, trials=single))


def test_a_cold_first_block() -> None:
    results = plant(Planting(ratios={}, sigma=0.01))
    cold = trial("made", "native", 0, {"made.up": 5.0})
    texts = _texts(msgspec.structs.replace(results, trials=(cold, *results.trials[1:])))
    assert "The first block of made.up on native was 5.0× the median" in texts
    assert "1 of 20 in made.up on native" in texts


def test_bytes_that_are_not_the_images() -> None:
    image = Image(name="tiny", digest="d", content_digest="right", content_bytes=1, layers=(), root="/r")
    results = _change(plant(Planting(ratios={})), images={"tiny": image}, digests_inside={"box": "wrong"})
    assert analyse([results]).caveats[0].level is Level.ERROR
    assert "box ran other bytes than the image tiny" in _texts(results)


def test_a_box_faster_than_the_machine() -> None:
    run = planted_golden().run
    trials = [trial("cpu", "native", b, {"cpu.integer.time": 1.0}) for b in range(12)]
    trials += [trial("cpu", "container", b, {"cpu.integer.time": 0.5}) for b in range(12)]
    assert "container beats the reference by more than 5 %" in _texts(Results(run=run, trials=tuple(trials)))


def test_a_metric_nobody_defined() -> None:
    run = plant(Planting(ratios={"box": 1.0})).run
    trials = [trial("made", name, b, {"cpu.odd": v}) for name, v in (("native", 1.0), ("box", 9.0)) for b in range(12)]
    texts = _texts(Results(run=run, trials=tuple(trials)))
    assert "cpu.odd was measured, but its run does not say what it means." in texts
    assert "beats" not in texts  # which way is better is not said either


def test_a_verdict_that_hangs_on_tainted_trials() -> None:
    results = plant(Planting(ratios={"box": 1.0}, blocks=21, sigma=0.01))
    tainted = tuple(_slow(t) if _is_box(t) and t.step.block < 11 else t for t in results.trials)
    texts = _texts(msgspec.structs.replace(results, trials=tainted))
    assert "11 trials of made (box) are tainted: steal." in texts
    assert "without the tainted ones" in texts


def _is_box(one: Trial) -> bool:
    return one.step.cell.runtime == "box"


def _slow(one: Trial) -> Trial:
    slow = tuple(msgspec.structs.replace(sample, value=sample.value * 3) for sample in one.samples)
    return msgspec.structs.replace(one, samples=slow, taints=("steal",))


def test_runs_of_different_hosts_are_not_comparable() -> None:
    one = _change(plant(Planting(ratios={}, seed=1)), host={"kernel": "6.1"})
    two = _change(plant(Planting(ratios={}, seed=2)), host={"kernel": "6.2"})
    texts = [caveat.text for caveat in analyse([one, two]).caveats]
    assert "planted-2 and planted-1 differ in kernel: their numbers are not comparable." in texts


def test_what_matters_without_deciding_is_a_milder_word() -> None:
    one = _change(plant(Planting(ratios={}, seed=1)), host={"governor": "performance", "boot_id": "1"})
    two = _change(plant(Planting(ratios={}, seed=2)), host={"governor": "powersave", "boot_id": "2"})
    texts = [caveat.text for caveat in analyse([one, two]).caveats]
    assert "planted-2 and planted-1 differ in governor: their numbers may too." in texts


def test_reasons_are_cut_and_said_once(golden: Results) -> None:
    failed = tuple(
        msgspec.structs.replace(t, outcome=Outcome.FAILED, samples=(), reason="long " * 100)
        for t in golden.trials
        if t.step.cell.runtime == "container" and t.step.cell.scenario == "boot"
    )
    caveat = analyse([Results(run=golden.run, trials=failed, notes=("the file was cut",))]).caveats[0]
    assert caveat.text.startswith("13 trials of boot on container failed: long long")
    assert len(caveat.text) < 320
    assert "The file was cut." in _texts(Results(run=golden.run, trials=(), notes=("the file was cut",)))


def test_equal_doubts_count_once() -> None:
    results = plant(Planting(ratios={"box": 1.5}, sigma=0.02))
    noted = msgspec.structs.replace(results, notes=("twice", "twice"))
    assert len(analyse([noted]).caveats) == 1
    assert replace(analyse([noted]).caveats[0], text="Twice.") in analyse([noted]).caveats

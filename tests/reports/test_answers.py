"""Sentences that say what the verdicts say, and no more."""

from __future__ import annotations

import pytest

from harness.model import Results
from reports.analysis import Analysis, analyse
from tests.reports.planted import Planting, plant


def _answer(planting: Planting) -> str:
    (answer,) = analyse([plant(planting)]).answers
    return answer.text


@pytest.mark.parametrize(
    ("planting", "parts"),
    [
        (
            Planting(ratios={"box": 4.0}),
            ("box comes to ", "4.0× as long as native (95 %: ", "WORSE (20 blocks)"),
        ),
        (Planting(ratios={"box": 1.0}, sigma=0.01), ("SAME within ±5 % (20 blocks).",)),
        (Planting(ratios={"box": 1.12}, sigma=0.15, seed=3), ("INCONCLUSIVE (20 blocks",)),
        (Planting(ratios={"box": 4.0}, blocks=3), ("No verdict: 3 blocks are too few, 10 are needed.",)),
        (Planting(ratios={"box": 1.5}, base=0.001, floor=0.001), ("SAME within ±1.00 ms",)),
    ],
)
def test_a_sentence_carries_its_evidence(planting: Planting, parts: tuple[str, ...]) -> None:
    text = _answer(planting)
    for part in parts:
        assert part in text


def test_every_sentence_about_emulation_says_so(analysed: Analysis) -> None:
    emulated = [answer for answer in analysed.answers if answer.emulated]
    assert emulated
    assert all("(emulation)" in answer.text for answer in emulated)
    assert analysed.answers[-len(emulated) :] == tuple(emulated)  # after all others
    for answer in emulated:
        # Sizes are what they are, whoever runs them.
        assert ("says nothing about hardware virtualization" in answer.text) is (answer.scenario != "disk")


def test_a_family_is_one_sentence_and_a_size_equal_everywhere_is_none(analysed: Analysis) -> None:
    of_container = {a.scenario: a.text for a in analysed.answers if a.runtime == "container"}
    assert (
        of_container["cpu"]
        == "container takes 1.00× to 1.60× as long as native for 3 kinds of CPU work. 1 WORSE, 2 SAME (11 blocks)."
    )
    assert of_container["disk"] == "container is 1.05 MiB to ship, exactly as much as native."


def test_no_comparison_no_sentence() -> None:
    assert analyse([plant(Planting(ratios={}))]).answers == ()
    assert analyse([Results(run=plant(Planting(ratios={})).run, trials=())]).answers == ()

"""One colour a runtime, visible on both grounds."""

from __future__ import annotations

import pytest

from harness.model import Results
from reports import tidy
from reports.palette import styles
from reports.systems import NO_DRIVER, systems
from tests.reports.planted import Planting, plant

GROUNDS = ("#ffffff", "#1a1d21")
BOXES = dict.fromkeys("abcdefghijk", 1.0)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_colour_is_seen(ground: str) -> None:
    for name, style in styles([plant(Planting(ratios=BOXES)).run]).items():
        light, dark = sorted((_luminance(style.colour), _luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, (name, style.colour)


def test_twelve_runtimes_have_twelve_colours_and_symbols() -> None:
    found = styles([plant(Planting(ratios=BOXES)).run]).values()
    assert len({style.colour for style in found}) == len({style.symbol for style in found}) == 12


def test_another_runtime_moves_nobodys_colour() -> None:
    few, many = (styles([plant(Planting(ratios=dict.fromkeys(names, 1.0))).run]) for names in ("ab", "abc"))
    assert all(many[name] == style for name, style in few.items())


def test_every_system_of_the_claim_is_accounted_for(golden: Results) -> None:
    here = {system.name: standing for system, standing in systems(tidy.read([golden]))}
    assert here["QEMU"] == "measured as tcg"
    assert here["KVM"] == "not measured: /dev/kvm does not exist"
    assert here["Docker"] == NO_DRIVER
    assert here["HyperKit"] == "does not run on Linux"

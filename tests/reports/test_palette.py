"""One colour a runtime, visible on both grounds."""

from __future__ import annotations

import itertools

import numpy as np
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


# How the three kinds of colour blindness see linear light (Machado, Oliveira & Fernandes 2009, severity 1).
KINDS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
TO_CONES = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005))  # fmt: skip
TO_OKLAB = ((0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660))  # fmt: skip


def _seen(colour: str, kind: str) -> np.ndarray:
    """Where it lies in Oklab, in which equal distances look equally large."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.asarray(TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(np.array(KINDS[kind]) @ linear, 0, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_colours_look_alike_to_anybody(kind: str) -> None:
    colours = [style.colour for style in styles([plant(Planting(ratios=BOXES)).run]).values()]
    found = {(a, b): np.linalg.norm(_seen(a, kind) - _seen(b, kind)) for a, b in itertools.combinations(colours, 2)}
    assert min(found.values()) > 0.045, min(found, key=lambda pair: found[pair])


def test_known_runtimes_look_the_same_in_every_report() -> None:
    few, many = (
        styles([plant(Planting(ratios=dict.fromkeys(names, 1.0))).run])
        for names in (("kvm", "container"), ("mine", "tcg-full", "container", "kvm-full", "kvm", "tcg", "yours"))
    )
    assert all(many[name] == style for name, style in few.items())


def test_more_than_twelve_differ_in_colour_or_symbol() -> None:
    found = styles([plant(Planting(ratios=dict.fromkeys("abcdefghijklmnopqrstuvwxyz", 1.0))).run])
    assert len(set(found.values())) == 27


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

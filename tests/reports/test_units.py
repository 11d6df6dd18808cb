"""Numbers for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model import Unit
from reports import units


@pytest.mark.parametrize(
    ("number", "unit", "shown"),
    [
        (0.00312, Unit.SECONDS, "3.12 ms"),
        (41.26, Unit.SECONDS, "41.3 s"),
        (0.000_000_5, Unit.SECONDS, "500 ns"),
        (0.99996, Unit.SECONDS, "1.00 s"),
        (0.0, Unit.SECONDS, "0 s"),
        (0, Unit.BYTES, "0 B"),
        (512, Unit.BYTES, "512 B"),
        (1536, Unit.BYTES, "1.50 KiB"),
        (268_435_456, Unit.BYTES, "256 MiB"),
        (-8192, Unit.BYTES, "-8.00 KiB"),
        (3 << 30, Unit.BYTES, "3.00 GiB"),
        (0.25, Unit.RATIO, "0.250"),
        (math.nan, Unit.SECONDS, "–"),
    ],
)
def test_value(number: float, unit: Unit, shown: str) -> None:
    assert units.value(number, unit) == shown


def test_both_ends_of_an_interval_share_a_unit() -> None:
    assert units.interval(0.9996, 1.204, Unit.SECONDS) == "1.00–1.20 s"
    assert units.interval(0.00299, 0.0033, Unit.SECONDS) == "2.99–3.30 ms"
    assert units.interval(900 << 10, 1100 << 10, Unit.BYTES) == "0.879–1.07 MiB"
    assert units.interval(math.nan, math.nan, Unit.SECONDS) == "–"


@pytest.mark.parametrize(("number", "shown"), [(41.3, "41×"), (4.06, "4.1×"), (1.034, "1.03×"), (1161.2, "1,161×")])
def test_ratio(number: float, shown: str) -> None:
    assert units.ratio(number) == shown


def test_shares_and_probabilities() -> None:
    assert [units.percent(x) for x in (0.05, 0.0525, 0.333, 12.0)] == ["5 %", "5.2 %", "33 %", "12×"]
    assert [units.probability(x) for x in (0.0001, 0.0421, math.nan)] == ["<0.001", "0.042", "–"]


def test_emulation_never_travels_without_its_mark() -> None:
    assert units.box("tcg", emulated=True) == "tcg (emulation)"
    assert units.box("kvm", emulated=False) == "kvm"


@given(st.floats(1e-9, 1e12), st.sampled_from(list(Unit)))
def test_a_shown_value_is_right_to_three_digits(number: float, unit: Unit) -> None:
    digits, _, name = units.value(number, unit).partition(" ")
    factor = {"ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(name, 1)
    # Bytes have no smaller unit than one, and values under it are shown as they are.
    assert float(digits.replace(",", "")) * factor == pytest.approx(number, rel=0.0051)

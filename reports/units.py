"""Numbers for people: base units in, three significant digits and a readable unit out, the same in every locale.

Both ends of an interval share the unit of the larger one, so that they can be compared by eye.
"""

from __future__ import annotations

import math

from harness.model import Unit

NOTHING = "–"
_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    Unit.BYTES: ((float(1 << 30), "GiB"), (float(1 << 20), "MiB"), (float(1 << 10), "KiB"), (1.0, "B")),
    Unit.RATIO: ((1.0, ""),),
}


def value(number: float, unit: Unit) -> str:
    """`0.00312 s` → `3.12 ms`."""
    if not math.isfinite(number):
        return NOTHING
    factor, name = scale(number, unit)
    return f"{_digits(number / factor, name)} {name}".rstrip()


def interval(low: float, high: float, unit: Unit) -> str:
    """`3.01–3.30 ms`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    factor, name = scale(max(abs(low), abs(high)), unit)
    return f"{_digits(low / factor, name)}–{_digits(high / factor, name)} {name}".rstrip()


def ratio(number: float) -> str:
    """`41.3` → `41×`; small ratios keep two decimals, since 1.03 and 1.08 are different answers."""
    return f"{_ratio_digits(number)}×" if math.isfinite(number) else NOTHING


def ratio_interval(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    return f"{_ratio_digits(low)}–{_ratio_digits(high)}×"


def percent(fraction: float) -> str:
    """`0.05` → `5 %`; tenths only below ten, where they matter. Beyond tenfold a factor reads better."""
    if not math.isfinite(fraction):
        return NOTHING
    if abs(fraction) >= 10:
        return f"{_ratio_digits(fraction)}×"
    number = fraction * 100
    tenths = f"{number:.1f}".removesuffix(".0")
    return f"{tenths if abs(number) < 10 else f'{number:.0f}'} %"


def probability(number: float) -> str:
    if not math.isfinite(number):
        return NOTHING
    return "<0.001" if number < 0.001 else f"{number:.3f}"


def scale(number: float, unit: Unit) -> tuple[float, str]:
    """The factor and the name of the unit a number is best read in."""
    scales = _SCALES[unit]
    # Rounding comes first: 999.96 ms is shown as 1.00 s, never as 1000 ms.
    rounded = float(f"{abs(number):.3g}")
    base = next(one for one in scales if one[0] == 1.0)
    return next((one for one in scales if rounded >= one[0]), base if rounded == 0 else scales[-1])


def _digits(number: float, unit: str) -> str:
    if number == 0 or (unit == "B" and number == int(number)):
        return f"{number:.0f}"
    places = 2 - math.floor(math.log10(float(f"{abs(number):.3g}")))
    return f"{number:,.{min(max(places, 0), 12)}f}"


def _ratio_digits(number: float) -> str:
    size = float(f"{abs(number):.3g}")
    if size >= 10:
        return f"{number:,.0f}"
    return f"{number:.2f}" if size < 2 else f"{number:.1f}"


def box(runtime: str, *, emulated: bool) -> str:
    """A runtime's name as it may be shown: emulation never travels without its mark."""
    return f"{runtime} (emulation)" if emulated else runtime

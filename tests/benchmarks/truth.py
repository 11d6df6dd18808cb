"""The method against planted truth: the table of what must come out, with what did.

The planted rows take two minutes and speak for the method; the real ones take two more and speak for this host too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.benchmarks.frame import Bench, Row
from tests.metrology import planted_rows, real_rows
from tests.metrology.world import Weather

T = TypeVar("T")


def _rows() -> Iterator[Bench]:
    for weather in Weather:
        for make in (
            planted_rows.false_verdicts,
            planted_rows.fifth_called,
            planted_rows.tenth_wrong_way,
            planted_rows.ratio_coverage,
        ):
            yield _with(make, weather)
    yield from (_with(planted_rows.median_coverage, blocks) for blocks in (10, 20, 30))
    yield from (_with(planted_rows.stopped_coverage, percent) for percent in (5, 2))
    yield from (planted_rows.advice_given, planted_rows.advice_decides)
    yield from (planted_rows.failures_counted, planted_rows.failures_kept_out)
    for delay_ms in real_rows.DELAYS_MS:
        yield from (_with(real_rows.busy_bias, delay_ms), _with(real_rows.busy_spread, delay_ms))
    for size in real_rows.TOUCHED_MIB:
        for place in real_rows.SEEN_IN:
            yield _with(_touched(size), place)
        yield _with(real_rows.memory_host_view, size)
    for quota in real_rows.QUOTAS[:-1]:
        yield from (_with(row, quota) for row in (real_rows.quota_elapsed, real_rows.quota_plain, real_rows.quota_cpu))
    yield from (_with(real_rows.against_itself, runtime) for runtime in real_rows.REAL)


def _touched(size: int) -> Callable[[tuple[str, str]], Row]:
    def memory_touched(place: tuple[str, str]) -> Row:
        return real_rows.memory_touched(*place, size)

    memory_touched.__name__ = f"memory_touched[{size}]"
    return memory_touched


def _with(make: Callable[[T], Row], value: T) -> Bench:
    """The row for one value, as a function with a name of its own."""

    def bench() -> Row:
        return make(value)

    bench.__name__ = f"{make.__name__}[{value}]"
    return bench


ROWS = tuple(_rows())

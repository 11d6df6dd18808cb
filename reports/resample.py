"""Resamples of blocks: how often each block was drawn, for any number of arms measured over the same blocks.

What was measured side by side stays together, so that drift cancels in a ratio. A run merged from several sittings is
drawn in two steps, sittings first and then blocks of each: what differs from sitting to sitting is then in the interval
(Kalibera & Jones, ISMM 2013).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.summary import Floats, Places, Series, split

RESAMPLES = 10_000


@dataclass(frozen=True)
class Arm:
    """One value a block, in the order of measurement."""

    blocks: Places
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def varies(self) -> bool:
        return bool(np.ptp(self.values) > 0)

    def over(self, blocks: Sequence[int]) -> Floats:
        """Its values in the order of those blocks; NaN in the blocks it has none for."""
        own = dict(zip(self.blocks.tolist(), self.values.tolist(), strict=True))
        return np.array([own.get(block, math.nan) for block in blocks], dtype=np.float64)


def arms(values: pd.DataFrame) -> dict[Series, Arm]:
    """Per series one value a block: a trial that was repeated in its block counts once, with the median."""
    blocks, numbers = values["block"].to_numpy(np.int64), values["value"].to_numpy(np.float64)
    return {series: _arm(blocks[rows], numbers[rows]) for series, rows in split(values)}


def _arm(blocks: Places, values: Floats) -> Arm:
    seen = list(dict.fromkeys(blocks.tolist()))
    if len(seen) == len(blocks):
        return Arm(blocks, values)
    return Arm(np.array(seen), np.array([np.median(values[blocks == block]) for block in seen]))


class Resampler:
    """The draws of one run. `starts` are the first blocks of its sittings; `stream` sets two runs of one seed apart.

    `counts` says how often each block (a row) was drawn in each resample (a column).
    """

    def __init__(self, seed: int, blocks: Sequence[int], starts: Sequence[int] = (), stream: int = 0) -> None:
        self.blocks = list(blocks)
        # NumPy seeds are natural numbers; the block count keeps a resumed run from sharing draws with its beginning.
        entropy = [seed % 2**64, len(blocks), stream] if stream else [seed % 2**64, len(blocks)]
        generator = np.random.default_rng(entropy)
        sittings = _sittings(self.blocks, starts)
        if len(sittings) > 1:
            counts = _two_steps(generator, sittings)
        else:
            counts = generator.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=RESAMPLES)
        # A row a block, so that all resamples of one block lie side by side in memory; as small as their sums allow.
        self._kind = np.min_scalar_type(max(int(counts.sum(axis=1).max(initial=0)), len(blocks)) + 1)
        self.counts = np.ascontiguousarray(counts.T.astype(self._kind))
        self._cache: dict[bytes, Floats] = {}

    def medians(self, arm: Arm) -> Floats:
        """The median of the arm in each resample; NaN where none of its blocks was drawn."""
        values = arm.over(self.blocks)
        key = values.tobytes()
        if key not in self._cache:
            self._cache[key] = self._medians(values)
        return self._cache[key]

    def _medians(self, values: Floats) -> Floats:
        # Counting instead of sorting: over blocks in order of value, the running sum of draws finds the middle ones.
        # Block by block over all resamples at once: an order of magnitude faster than one table of running sums.
        order = [int(i) for i in np.argsort(values, kind="stable") if not math.isnan(values[i])]
        drawn = self.counts[order].sum(axis=0, dtype=self._kind)
        ordered = np.append(values[order], math.nan)
        below, above = np.maximum(drawn, 1) - 1 >> 1, drawn >> 1
        running, lower, upper = (np.zeros(len(drawn), self._kind) for _ in range(3))
        # The middle of no resample is among the first blocks, nor after the one that brings all of them past it.
        first, until = int(below.min(initial=0)), int(above.max(initial=0))
        passed = 0
        for place, block in enumerate(order):
            np.add(running, self.counts[block], out=running)
            if passed == place and running.max() <= first:
                passed += 1
                continue
            np.add(lower, (running <= below).view(np.uint8), out=lower)
            np.add(upper, (running <= above).view(np.uint8), out=upper)
            if running.min() > until:
                break
        middle: Floats = (ordered[lower + passed] + ordered[upper + passed]) / 2
        return np.where(drawn > 0, middle, math.nan)


def _sittings(blocks: Sequence[int], starts: Sequence[int]) -> list[list[int]]:
    """The blocks of each sitting; one that has none does not count."""
    bounds = [*sorted(starts), math.inf] if starts else [-math.inf, math.inf]
    found = [[b for b in blocks if low <= b < high] for low, high in itertools.pairwise(bounds)]
    return [sitting for sitting in found if sitting]


def _two_steps(generator: np.random.Generator, sittings: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    count = len(sittings)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    columns = [
        generator.multinomial(drawn[:, number] * len(sitting), np.full(len(sitting), 1 / len(sitting)))
        for number, sitting in enumerate(sittings)
    ]
    return np.concatenate(columns, axis=1)

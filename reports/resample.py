"""Resamples of blocks: how often each block was drawn, for any number of arms measured over the same blocks.

What was measured side by side stays together, so that drift cancels in a ratio. A run merged from several sittings is
drawn in two steps, sittings first and then blocks of each: what differs from sitting to sitting is then in the interval
(Kalibera & Jones, ISMM 2013).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.summary import Floats, Series
from reports.tidy import SERIES

RESAMPLES = 10_000

Arm: TypeAlias = "pd.Series[float]"
"""Block → value."""


def arms(values: pd.DataFrame) -> dict[Series, Arm]:
    """Per series one value a block: a trial that was repeated in its block counts once, with the median."""
    found = values.groupby([*SERIES, "block"], sort=False)["value"].median().reset_index()
    return {
        Series.of(key): pd.Series(group["value"].to_numpy(float), index=group["block"].to_numpy())
        for key, group in found.groupby(SERIES, sort=False)
    }


def floats(arm: Arm) -> Floats:
    return np.asarray(arm, dtype=np.float64)


class Resampler:
    """The draws of one run. `starts` are the first blocks of its sittings; `stream` sets two runs of one seed apart."""

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
        # A row a block, so that all resamples of one block lie side by side in memory.
        self._kind = np.int16 if len(blocks) < 2**15 else np.int32
        self._counts = np.ascontiguousarray(counts.T.astype(self._kind))
        self._cache: dict[bytes, Floats] = {}

    def medians(self, arm: Arm) -> Floats:
        """The median of the arm in each resample; NaN where none of its blocks was drawn."""
        values = floats(arm.reindex(self.blocks))
        key = values.tobytes()
        if key not in self._cache:
            self._cache[key] = self._medians(values)
        return self._cache[key]

    def _medians(self, values: Floats) -> Floats:
        # Counting instead of sorting: over blocks in order of value, the running sum of draws finds the middle ones.
        # Block by block over all resamples at once: an order of magnitude faster than one table of running sums.
        order = [int(i) for i in np.argsort(values, kind="stable") if not math.isnan(values[i])]
        drawn = self._counts[order].sum(axis=0, dtype=self._kind)
        ordered = np.append(values[order], math.nan)
        below, above = (drawn - 1) // 2, drawn // 2
        running, lower, upper = (np.zeros(len(drawn), self._kind) for _ in range(3))
        for block in order:
            np.add(running, self._counts[block], out=running)
            np.add(lower, running <= below, out=lower)
            np.add(upper, running <= above, out=upper)
        middle: Floats = (ordered[lower] + ordered[upper]) / 2
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

"""Two arms of one metric → an effect with its interval, a margin, and one of few words.

The effect is the ratio of two medians; its 95 % interval is that of the ratios of resampled medians. A verdict needs a
practical margin δ, and takes the widest of three: 5 % (or the limit of a gate), what an A/A twin differs by (no cause,
all noise), and the metric's absolute floor over the reference. The whole interval beyond the margin is WORSE or BETTER,
the whole interval inside is SAME, anything else is INCONCLUSIVE with the number of blocks that would probably decide.
Where a median of the two is not above zero a ratio means nothing, and the difference takes its place.

Mann–Whitney p-values, adjusted by Holm (Scand. J. Statist. 6, 1979) over all comparisons made, only support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from harness.model import Better, Kind, Metric
from reports.resample import Arm, Resampler
from reports.summary import SMALLEST_N

SMALLEST_BLOCKS = 10
MARGIN = 0.05
MOST_BLOCKS = 1000
"""Beyond this, more blocks are no advice."""
POWER = 0.9
"""How often the advised number of blocks should decide."""


class Verdict(StrEnum):
    WORSE = "WORSE"
    BETTER = "BETTER"
    SAME = "SAME"
    INCONCLUSIVE = "INCONCLUSIVE"
    TOO_FEW = "no verdict: n too small"
    NO_DIRECTION = "no verdict: neither way is better"
    VARIES = "error: value varies"

    @property
    def decided(self) -> bool:
        return self in (Verdict.WORSE, Verdict.BETTER, Verdict.SAME)


@dataclass(frozen=True, slots=True)
class Effect:
    """How far a series is from its reference, with a 95 % interval. `relative`: a ratio; else a difference.

    Three blocks have only ten different resamples: below six blocks, as for a median, the interval is NaN.
    """

    estimate: float
    low: float
    high: float
    relative: bool = True

    @property
    def centre(self) -> float:
        """What no difference is."""
        return 1.0 if self.relative else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The smallest difference that counts, on the effect's own scale, and where it comes from."""

    size: float
    source: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms of one metric and the draws of each: the same object where both were measured in the same blocks."""

    metric: Metric
    base: Arm
    arm: Arm
    base_draws: Resampler
    arm_draws: Resampler

    @property
    def n(self) -> int:
        return min(len(self.base), len(self.arm))

    @property
    def exact(self) -> bool:
        return self.metric.kind is Kind.EXACT

    @property
    def varies(self) -> bool:
        return self.exact and (self.base.varies or self.arm.varies)

    def effect(self) -> Effect:
        centre, other = self.base.median, self.arm.median
        relative = centre > 0 and other >= 0
        estimate = other / centre if relative else other - centre
        if self.exact and not self.varies:
            return Effect(estimate, estimate, estimate, relative)
        if self.n < SMALLEST_N:
            return Effect(estimate, math.nan, math.nan, relative)
        bases, others = self.base_draws.medians(self.base), self.arm_draws.medians(self.arm)
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = others / bases if relative else others - bases
        low, high = np.nanquantile(resampled, [0.025, 0.975])
        return Effect(estimate, float(low), float(high), relative)

    def margin(self, effect: Effect, twins: Sequence[Effect], limit: float | None = None) -> Margin:
        """`limit`, on the effect's scale, takes the place of the practical margin and of the floor."""
        base = self.base.median
        if limit is not None:
            sizes = {"limit": limit}
        elif effect.relative:
            sizes = {"practical": MARGIN, "absolute floor": self.metric.floor / base}
        else:
            sizes = {"absolute floor": self.metric.floor}
        noise = [max(t.estimate, 1 / t.estimate) - 1 for t in twins if t.relative and t.estimate > 0]
        if noise and effect.relative and not self.exact:
            sizes["A/A twin"] = max(noise)
        source = max(sizes, key=lambda name: sizes[name])
        return Margin(size=sizes[source], source=source)

    def verdict(self, effect: Effect, margin: float) -> Verdict:
        if self.varies:
            return Verdict.VARIES
        if self.metric.better is Better.NEITHER:
            return Verdict.NO_DIRECTION
        if self.n < SMALLEST_BLOCKS and not self.exact:
            return Verdict.TOO_FEW
        if effect.low >= effect.centre - margin and effect.high <= effect.centre + margin:
            return Verdict.SAME
        more, less = effect.low > effect.centre + margin, effect.high < effect.centre - margin
        if not (more or less):
            return Verdict.INCONCLUSIVE
        return Verdict.WORSE if more is (self.metric.better is Better.LOWER) else Verdict.BETTER


def needed(effect: Effect, margin: float, n: int) -> int | None:
    """The blocks at which nine in ten repetitions of the experiment would decide; None beyond `MOST_BLOCKS`.

    An interval shrinks with √n, and to decide nine times in ten the effect must clear the nearer edge of the margin by
    z(97.5 %) + z(90 %) standard errors. How far it is from that edge is itself an estimate, and a lucky one would
    promise too much: it counts as at most one margin, or half of what was seen, and as at least half a margin.
    """
    seen = abs(abs(effect.estimate - effect.centre) - margin)
    room = max(min(seen, max(margin, seen / 2)), margin / 2)
    width = (effect.high - effect.low) / 2
    if room <= 0 or not width > 0:
        return None
    reach = 1 + stats.norm.ppf(POWER) / stats.norm.ppf(0.975)
    blocks = math.ceil(n * (reach * width / room) ** 2)
    return max(blocks, n + 1) if blocks <= MOST_BLOCKS else None


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment. SciPy 1.17 offers only Benjamini–Hochberg, which controls another error."""
    adjusted = [math.nan] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def mann_whitney(pairs: Sequence[Pair]) -> list[float]:
    """Two-sided p-values; NaN for what does not vary by its nature, 1 where not a single value differs.

    Pairs of the same size are tested in one call: SciPy takes longer to look at what it is given than to test it.
    """
    found = [math.nan if pair.exact else 1.0 for pair in pairs]
    alike: dict[tuple[int, int, bool], list[int]] = {}
    for number, pair in enumerate(pairs):
        both = np.concatenate([pair.base.values, pair.arm.values])
        if not pair.exact and np.ptp(both) > 0:
            # Up to eight values SciPy takes the exact distribution, unless there are ties.
            tied = pair.n <= 8 and len(np.unique(both)) < len(both)
            alike.setdefault((len(pair.base), len(pair.arm), tied), []).append(number)
    for numbers in alike.values():
        base, arm = (np.stack([getattr(pairs[n], side).values for n in numbers]) for side in ("base", "arm"))
        tested = stats.mannwhitneyu(base, arm, alternative="two-sided", axis=1).pvalue
        for number, p in zip(numbers, np.atleast_1d(tested), strict=True):
            found[number] = float(p)
    return found

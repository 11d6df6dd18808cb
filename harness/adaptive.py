"""When to stop measuring: every number precise enough, and never because of what the numbers say.

The rule looks at the width of each interval and at nothing else. A rule that looks at a p-value or a verdict stops when
chance happens to agree with it (optional stopping), and its verdicts are worth less than they seem.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.contract import Scenario
from harness.model import Better, Config, Kind, Metric, Outcome, Trial

FEWEST_BLOCKS = 10
STRIDE = 2
"""From the fewest on, the rule is asked after every second block: fewer looks, less optional stopping."""
LEVEL = 0.95


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The exact order-statistic 95 % interval of the median; None below six values.

    The k-th smallest to the k-th largest, k from the binomial distribution. Reports use SciPy for the same numbers;
    the measuring process must not load it.
    """
    n, below, k = len(values), 0, 0
    while below / 2**n < (1 - LEVEL) / 2:
        below += math.comb(n, k)
        k += 1
    # k - 1 is now the smallest count whose cumulative probability reaches 2.5 %.
    rank = k - 1
    if rank < 1:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[-rank]


def precise(values: Sequence[float], metric: Metric, target: float) -> bool:
    """Whether the interval reaches no further from the median than the target, or the metric's floor, allows."""
    found = interval(values)
    if found is None:
        return False
    allowed = max(target * abs(statistics.median(values)), metric.floor)
    return (found[1] - found[0]) / 2 <= allowed


@dataclass
class StopRule:
    """Collects what was measured and says when it is enough. `target` overrides every metric's own."""

    metrics: dict[str, Metric]
    target: float | None = None
    _values: dict[tuple[bytes, str, str], dict[int, list[float]]] = field(default_factory=dict)
    _blocks: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, config: Config, scenarios: Iterable[Scenario]) -> StopRule | None:
        """The rule of a request; None when it fixed its number of blocks."""
        if not config.adaptive:
            return None
        judged = (
            metric
            for scenario in scenarios
            for metric in scenario.metrics
            if metric.kind is Kind.SAMPLED and metric.better is not Better.NEITHER
        )
        return cls({metric.name: metric for metric in judged}, config.precision)

    def add(self, trial: Trial) -> None:
        """Takes note of a trial. Warm-up, twins and failures do not count."""
        step = trial.step
        if step.warmup or step.skip:
            return
        self._blocks.add(step.block)
        if trial.outcome is not Outcome.OK or step.cell.twin:
            return
        cell = msgspec.json.encode(step.cell, order="sorted")
        for sample in trial.samples:
            if sample.metric in self.metrics:
                key = (cell, sample.metric, msgspec.json.encode(sample.labels, order="sorted").decode())
                self._values.setdefault(key, {}).setdefault(step.block, []).append(sample.value)

    def enough(self) -> bool:
        """To be asked between blocks."""
        blocks = len(self._blocks)
        if blocks < FEWEST_BLOCKS or (blocks - FEWEST_BLOCKS) % STRIDE:
            return False
        return all(self._precise(key[1], values) for key, values in self._values.items())

    def _precise(self, name: str, values: dict[int, list[float]]) -> bool:
        metric = self.metrics[name]
        target = metric.precision if self.target is None else self.target
        return precise([statistics.median(block) for block in values.values()], metric, target)

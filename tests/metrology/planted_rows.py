"""What must come out where everything is planted: verdicts, the advised number of blocks, intervals, failures."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache

import numpy as np
import numpy.typing as npt

from harness.adaptive import FEWEST_BLOCKS, STRIDE, interval, precise
from harness.model import Results
from reports import tidy
from reports.compare import Comparison, compare
from reports.summary import summarise
from reports.verdicts import Verdict
from tests.benchmarks.frame import Row
from tests.metrology.world import BOXES, LOST_VALUE_S, METRIC, Experiment, Machine, Weather

REPLICATIONS = range(400)
BLOCKS = 20
MOST_BLOCKS = 60
STOPS = 2000
DIFFERENT = (Verdict.WORSE, Verdict.BETTER)


@cache
def performed(weather: Weather) -> tuple[Results, Machine]:
    return Experiment(weather=weather, replications=REPLICATIONS, blocks=BLOCKS).perform()


@cache
def judged(weather: Weather) -> tuple[Comparison, ...]:
    return compare(tidy.read([performed(weather)[0]])).made


def _share(weather: Weather, box: str, *verdicts: Verdict) -> float:
    found = [c.verdict for c in judged(weather) if c.series.runtime == box]
    assert len(found) == len(REPLICATIONS)
    return sum(verdict in verdicts for verdict in found) / len(found)


def false_verdicts(weather: Weather) -> Row:
    return Row(f"identical, {weather}: WORSE or BETTER", "", (_share(weather, "same", *DIFFERENT),), at_most=0.01)


def fifth_called(weather: Weather) -> Row:
    return Row(f"+20 %, {weather}: WORSE", "", (_share(weather, "fifth", Verdict.WORSE),), at_least=0.99)


def tenth_wrong_way(weather: Weather) -> Row:
    return Row(f"+10 %, {weather}: BETTER", "", (_share(weather, "tenth", Verdict.BETTER),), at_most=0.0)


def ratio_coverage(weather: Weather) -> Row:
    """Of the intervals of all ratios, how many hold the planted one."""
    held = [c.effect.low <= BOXES[c.series.runtime] <= c.effect.high for c in judged(weather)]
    return Row(
        f"95 % interval of a ratio, {weather}: covers", "", (sum(held) / len(held),), at_least=0.93, at_most=0.99
    )


def median_coverage(blocks: int) -> Row:
    """Of the intervals of all medians, how many hold the true one, as a million draws have it."""
    experiment = Experiment(weather=Weather.CALM, replications=REPLICATIONS, blocks=blocks, seed=blocks, twin=False)
    found = summarise(tidy.read([experiment.perform()[0]]))
    truth = float(np.median(_values(np.random.default_rng(1), 1_000_000)))
    held = [s.low <= truth * BOXES[s.series.runtime] <= s.high for s in found]
    share = sum(held) / len(held)
    return Row(f"95 % interval of a median, n = {blocks}: covers", "", (share,), at_least=0.93, at_most=0.99)


def _values(draws: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """What a calm machine takes, one after the other (see `Machine`)."""
    tail = np.where(draws.random(count) < 0.07, 1 + draws.exponential(0.6, count), 1.0)
    return draws.lognormal(0.0, 0.05, count) * tail


def stopped_coverage(percent: int) -> Row:
    """The same where measuring stopped as soon as the interval was so narrow: looking has its price."""
    draws = np.random.default_rng(2)
    truth = float(np.median(_values(np.random.default_rng(1), 1_000_000)))
    held = 0
    for _ in range(STOPS):
        values = [float(value) for value in _values(draws, MOST_BLOCKS)]
        looks = range(FEWEST_BLOCKS, MOST_BLOCKS + 1, STRIDE)
        n = next((n for n in looks if precise(values[:n], METRIC, percent / 100)), MOST_BLOCKS)
        low, high = interval(values[:n]) or (math.nan, math.nan)
        held += low <= truth <= high
    what = f"95 % interval of a median, stopped within {percent} %: covers"
    return Row(what, "", (held / STOPS,), at_least=0.93, at_most=0.99)


@cache
def _advice() -> tuple[int, int, int]:
    """Of +10 % in the worst weather: how many were INCONCLUSIVE, got an n, and were decided rightly with it.

    Every second replication is followed up: an advised n is in the hundreds, each block of it a trial.
    """
    weather = Weather.WANDER
    tenths = [c for c in judged(weather) if c.series.runtime == "tenth"][::2]
    open_ = [c for c in tenths if c.verdict is Verdict.INCONCLUSIVE]
    advised: dict[int, list[int]] = defaultdict(list)
    for c in open_:
        if c.needed is not None:
            advised[c.needed].append(int(c.series.params.partition("=")[2]))
    boxes = {"native": 1.0, "tenth": BOXES["tenth"]}
    right = 0
    for blocks, replications in advised.items():
        again = Experiment(weather=weather, replications=replications, blocks=blocks, boxes=boxes, seed=1000 + blocks)
        found = compare(tidy.read([again.perform()[0]])).made
        right += sum(c.verdict is Verdict.WORSE for c in found)
    return len(open_), sum(map(len, advised.values())), right


def advice_given() -> Row:
    undecided, advised, _ = _advice()
    return Row("+10 %, INCONCLUSIVE: an n is given", "", (advised / undecided,), at_least=0.9)


def advice_decides() -> Row:
    _, advised, right = _advice()
    return Row("+10 %, INCONCLUSIVE: that n then decides", "", (right / advised,), at_least=0.9)


@cache
def _lost() -> tuple[int, int, float, int]:
    """Cells whose failures or timeouts are not exactly those planted, all cells, the largest median, what was lost."""
    experiment = Experiment(
        weather=Weather.CALM, replications=REPLICATIONS, blocks=BLOCKS, boxes={"native": 1.0}, faults=0.1, twin=False
    )
    results, machine = experiment.perform()
    found = summarise(tidy.read([results]))
    wrong = 0
    for summary in found:
        replication = summary.series.params.partition("=")[2]
        planted = [machine.lost.get(("native", replication, kind), 0) for kind in ("failed", "timeout")]
        wrong += planted != [summary.failures, summary.timeouts] or summary.n != BLOCKS - sum(planted)
    return wrong, len(found), max(summary.maximum for summary in found), sum(machine.lost.values())


def failures_counted() -> Row:
    wrong, cells, _, lost = _lost()
    assert cells == len(REPLICATIONS)
    assert 0.09 < lost / (cells * BLOCKS) < 0.11
    return Row("failures and timeouts of 10 %: cells miscounted", "", (float(wrong),), at_most=0)


def failures_kept_out() -> Row:
    largest = _lost()[2]
    assert largest < LOST_VALUE_S / 1e6
    return Row("failures and timeouts of 10 %: largest value in a summary", "s", (largest,), at_most=100)

"""Executes a plan step by step and yields trials: settle, measure, judge, one after the other.

The only broad `except` of the project is here: whatever a runtime or a scenario does wrong becomes a failed trial with
its traceback in the log, and the run goes on. An interrupt is never caught; the boxes' contexts unwind and what was
measured is in the file.
"""

from __future__ import annotations

import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from harness import host, log
from harness.contract import Absent, Bench, Finding, Scenario
from harness.errors import TareError, TrialFailed, TrialTimeout
from harness.model import Outcome, Sample, Step, Trial
from harness.session import READY_TIMEOUT_S, Session, network_of

CANARY_ROUNDS = 400_000
"""About 50 ms of plain interpreter work: a fixed yardstick for drift and stolen time."""

STEAL_TAINT = 0.05
FLOOR_CYCLES = 1001
_SETTLE_POLL_S = 0.005
_SETTLED_READINGS = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed trial's log, for the run's folder."""

    step: Step
    text: str


def execute(
    steps: Iterable[Step],
    session: Session,
    scenarios: Mapping[str, Scenario],
    keep_log: Callable[[Failure], None],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial]:
    """One trial a step, in the given order. Stops before a block that would begin after the time budget."""
    began_s = clock()
    block, canary_s = -1, 0.0
    for step in steps:
        if step.skip:
            yield Trial(step=step, outcome=Outcome.SKIPPED, reason=step.skip, started_at=log.now_utc(), elapsed_s=0.0)
            continue
        if step.block != block:
            budget_s = session.config.budget_s
            if budget_s is not None and clock() - began_s > budget_s and not step.warmup:
                return
            block, canary_s = step.block, canary()
        settle_s = settle(session.config.settle_s)
        yield _trial(step, session, scenarios[step.cell.scenario], settle_s, canary_s, keep_log)


def canary() -> float:
    """Seconds a fixed piece of work takes now."""
    began_s = time.monotonic()
    for _ in range(CANARY_ROUNDS):
        pass
    return time.monotonic() - began_s


def floor() -> float:
    """Seconds the harness itself puts between request and ready: the median of a box that does nothing at all."""

    def cycle() -> float:
        began_s = time.monotonic()
        with nullcontext():
            return time.monotonic() - began_s

    return statistics.median(cycle() for _ in range(FLOOR_CYCLES))


def settle(limit_s: float) -> float:
    """Waits until nothing but us wants a CPU, at most `limit_s`; returns how long that took."""
    began_s = time.monotonic()
    quiet = 0
    while quiet < _SETTLED_READINGS and time.monotonic() - began_s < limit_s:
        time.sleep(_SETTLE_POLL_S)
        quiet = quiet + 1 if host.running_tasks() <= 1 else 0
    return time.monotonic() - began_s


@contextmanager
def deadline(limit_s: float, what: str) -> Iterator[None]:
    """TrialTimeout in the main thread when the block takes longer, whatever it waits for."""

    def expire(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise TrialTimeout(f"{what} took longer than {limit_s:g} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _trial(
    step: Step,
    session: Session,
    scenario: Scenario,
    settle_s: float,
    canary_s: float,
    keep_log: Callable[[Failure], None],
) -> Trial:
    started_at, noise, began_s = log.now_utc(), host.Noise(), time.monotonic()
    findings, outcome, reason = _measure(step, session, scenario, keep_log)
    elapsed_s = time.monotonic() - began_s
    evidence = noise.read() | {"canary_s": canary_s}
    return Trial(
        step=step,
        outcome=outcome,
        reason=reason,
        started_at=started_at,
        elapsed_s=elapsed_s,
        settle_s=settle_s,
        samples=tuple(one for one in findings if isinstance(one, Sample)),
        absent={one.metric: one.reason for one in findings if isinstance(one, Absent)},
        taints=("steal",) if evidence["steal"] > STEAL_TAINT else (),
        noise=evidence,
    )


def _measure(
    step: Step, session: Session, scenario: Scenario, keep_log: Callable[[Failure], None]
) -> tuple[list[Finding], Outcome, str]:
    """A failure yields no findings: a number from a box that broke is not a number."""
    cell, network = step.cell, network_of(scenario)
    bench = Bench(
        start=lambda: session.start(cell.runtime, network),
        spec=session.spec(cell.runtime, network),
        params=cell.params,
        clock=time.monotonic,
        sleep=time.sleep,
        ready_timeout_s=min(READY_TIMEOUT_S, session.config.trial_timeout_s),
        run_timeout_s=session.config.trial_timeout_s,
    )
    limit_s = session.config.trial_timeout_s
    try:
        with deadline(limit_s, f"{cell.scenario} in {cell.runtime}"):
            return list(scenario.measure(bench)), Outcome.OK, ""
    except TrialFailed as error:
        keep_log(Failure(step, f"{error.message}\n\n{error.log}"))
        return [], Outcome.TIMEOUT if isinstance(error, TrialTimeout) else Outcome.FAILED, error.message
    except TareError as error:
        return [], Outcome.FAILED, error.message
    except Exception as error:
        keep_log(Failure(step, traceback.format_exc()))
        return [], Outcome.FAILED, f"{type(error).__name__}: {error}"

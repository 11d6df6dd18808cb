"""Executes a plan step by step and yields trials: prepare, settle, measure, judge, one after the other.

The only broad `except` of the project is here: whatever a runtime or a scenario does wrong becomes a failed trial with
its traceback in the log, and the run goes on. An interrupt is never caught; the boxes' contexts unwind and what was
measured is in the file.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

from harness import factors, host, log, taints
from harness.adaptive import StopRule
from harness.contract import Absent, Bench, Finding, Scenario
from harness.errors import TareError, TrialFailed, TrialTimeout, Unsupported
from harness.model import Outcome, Sample, Step, Trial
from harness.plan import Past, repetition, wants_repetition
from harness.session import Session, network_of

CANARY_ROUNDS = 2_000_000
"""About 50 ms of plain interpreter work: a fixed yardstick for drift and stolen time."""

READY_SHARE = 0.9
"""Of a trial's time: a box that never becomes ready is then told by its own log, not by the alarm."""

FLOOR_CYCLES = 1001
_SETTLE_POLL_S = 0.005
_SETTLED_READINGS = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed trial's log, for the run's folder."""

    step: Step
    text: str


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


def settle(limit_s: float) -> bool:
    """Waits until nothing but us wants a CPU, at most `limit_s`; returns whether it became quiet."""
    began_s = time.monotonic()
    quiet = 0
    while quiet < _SETTLED_READINGS and time.monotonic() - began_s < limit_s:
        time.sleep(_SETTLE_POLL_S)
        quiet = quiet + 1 if host.running_tasks() <= 1 else 0
    return quiet >= _SETTLED_READINGS or limit_s <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Senses:
    """How the runner perceives the machine: real by default, planted where what comes out must be known."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    canary: Callable[[], float] = canary
    settle: Callable[[float], bool] = settle
    witness: taints.Witness = field(default_factory=taints.HostWitness)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a plan is carried out with. `rule` ends it when it is precise enough; without one it runs to its end.

    `past` is what was measured before, when the plan is the rest of an interrupted one.
    """

    session: Session
    scenarios: Mapping[str, Scenario]
    keep_log: Callable[[Failure], None]
    senses: Senses = field(default_factory=Senses)
    rule: StopRule | None = None
    past: Past = field(default_factory=Past)

    def trials(self, steps: Iterable[Step]) -> Iterator[Trial]:
        """One trial a step, in the given order, and one more for each that was tainted.

        Stops before a block that would begin after the time budget, or that precision does not need.
        """
        began_s, begun = self.senses.clock() - self.past.spent_s, self.past.blocks
        for skipped, group in itertools.groupby(steps, lambda step: bool(step.skip)):
            if skipped:
                yield from map(_skipped, group)
                continue
            for _, block in itertools.groupby(group, lambda step: step.block):
                block_steps = list(block)
                fresh = not block_steps[0].warmup and block_steps[0].block not in begun
                if fresh and self._over(began_s):
                    return
                yield from self._block(block_steps)

    def _over(self, began_s: float) -> bool:
        budget_s = self.session.config.budget_s
        spent = budget_s is not None and self.senses.clock() - began_s > budget_s
        return spent or (self.rule is not None and self.rule.enough())

    def _block(self, steps: Sequence[Step]) -> Iterator[Trial]:
        """Every step once, then the tainted ones again: beside the others of their block, and never a third time."""
        canary_s = self.senses.canary()
        again = [step for step in steps if step.attempt and not step.warmup]  # a resumed run owes these
        for step in steps:
            if step in again:
                continue
            trial = self._trial(step, canary_s)
            if wants_repetition(trial):
                again.append(repetition(step))
            yield trial
        if self.session.config.repeat_tainted:
            yield from (self._trial(step, canary_s) for step in again)

    def _trial(self, step: Step, canary_s: float) -> Trial:
        prepared, outcome, reason = self._attempt(step, self._prepare)
        clock, witness = self.senses.clock, self.senses.witness
        settle_began_s = clock()
        settled = self.senses.settle(self.session.config.settle_s)
        settle_s = clock() - settle_began_s
        started_at = log.now_utc()
        witness.begin()
        began_s = clock()
        findings: list[Finding] = prepared
        if outcome is Outcome.OK:
            findings, outcome, reason = self._attempt(step, self._measure)
        elapsed_s = clock() - began_s
        evidence = witness.evidence() | {"canary_s": canary_s}
        trial = Trial(
            step=step,
            outcome=outcome,
            reason=reason,
            started_at=started_at,
            elapsed_s=elapsed_s,
            settle_s=settle_s,
            samples=tuple(one for one in findings if isinstance(one, Sample)),
            absent={one.metric: one.reason for one in findings if isinstance(one, Absent)},
            taints=taints.of(evidence, settled=settled),
            noise=evidence,
        )
        if self.rule is not None:
            self.rule.add(trial)
        return trial

    def _prepare(self, step: Step) -> list[Finding]:
        """Untimed: puts the host into the state the cell declares."""
        factors.bring_about(step.cell.params, lambda: self._warm_up(step))
        return []

    def _warm_up(self, step: Step) -> None:
        with self.session.start(step.cell.runtime, network_of(self.scenarios[step.cell.scenario])) as instance:
            instance.wait_ready(self.session.config.trial_timeout_s)

    def _measure(self, step: Step) -> list[Finding]:
        cell, config, scenario = step.cell, self.session.config, self.scenarios[step.cell.scenario]
        network = network_of(scenario)
        bench = Bench(
            start=lambda: self.session.start(cell.runtime, network),
            spec=self.session.spec(cell.runtime, network),
            params=cell.params,
            clock=self.senses.clock,
            sleep=self.senses.sleep,
            ready_timeout_s=READY_SHARE * config.trial_timeout_s,
            run_timeout_s=config.trial_timeout_s,
            features=frozenset(self.session.supports[cell.runtime].features),
        )
        return list(scenario.measure(bench))

    def _attempt(self, step: Step, action: Callable[[Step], list[Finding]]) -> tuple[list[Finding], Outcome, str]:
        """A failure yields no findings: a number from a box that broke is not a number."""
        try:
            with deadline(self.session.config.trial_timeout_s, f"{step.cell.scenario} in {step.cell.runtime}"):
                return action(step), Outcome.OK, ""
        except TrialFailed as error:
            self.keep_log(Failure(step, f"{error.message}\n\n{error.log}"))
            return [], Outcome.TIMEOUT if isinstance(error, TrialTimeout) else Outcome.FAILED, error.message
        except Unsupported as error:
            return [], Outcome.SKIPPED, f"{error.message} ({error.hint})" if error.hint else error.message
        except TareError as error:
            return [], Outcome.FAILED, error.message
        except Exception as error:
            self.keep_log(Failure(step, traceback.format_exc()))
            return [], Outcome.FAILED, f"{type(error).__name__}: {error}"


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


def _skipped(step: Step) -> Trial:
    return Trial(step=step, outcome=Outcome.SKIPPED, reason=step.skip, started_at=log.now_utc(), elapsed_s=0.0)

"""What must come out where something real is planted: a busy-wait, touched memory, a quota, nothing at all (A/A)."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

from harness import marks, plan, rerun, runner, session, taints
from harness.cgroups import Cgroup
from harness.contract import Bench, Finding, Instance, Scenario
from harness.errors import TareError, Unsupported
from harness.gate import Question, Side
from harness.model import Config, Outcome, Results, Run, ScenarioFacts, Step, Support, Trial
from harness.session import Session
from reports.gate import gate
from scenarios import gauges
from scenarios.boot import boot
from scenarios.memory import memory
from tests.benchmarks.frame import Row
from tests.metrology.busy import BusyRuntime

MIB = 1 << 20
DELAYS_MS = (1, 10, 100)
BUSY_BLOCKS = 40
TOUCHED_MIB = (8, 32, 128)
SEEN_IN = (("native", "memory.pss"), ("container", "memory.pss"), ("tcg", "memory.inside"))
"""Where touched memory must be seen, and by which metric."""
QUOTAS = (0.25, 0.5, 1.0)
QUOTA_BLOCKS = 10
AA_BLOCKS = 10
REAL = ("native", "container", "tcg")


def _trials(opened: Session, scenarios: Sequence[Scenario], steps: Sequence[Step]) -> list[Trial]:
    execution = runner.Execution(
        session=opened, scenarios={one.name: one for one in scenarios}, keep_log=lambda failure: None
    )
    found = list(execution.trials(steps))
    broken = [trial.reason for trial in found if trial.outcome is not Outcome.OK]
    if broken:
        raise TareError(f"{len(broken)} of {len(found)} trials were lost: {broken[0]}")
    return found


def _value(trial: Trial, metric: str) -> float:
    return next(sample.value for sample in trial.samples if sample.metric == metric)


# A busy-wait in a real child process.


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ahead of whoever else runs on this host: what is tested is the clock, and a busy host would be tested instead."""
    before, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, parameter)


def _preferred(group: Cgroup | None) -> None:
    """The same for a box: its cgroup's weight against others, which leaves its quota as it is."""
    for path in group.paths.values() if group is not None else ():
        for name, weight in (("cpu.shares", "262144"), ("cpu.weight", "10000")):
            if (path / name).exists():
                (path / name).write_text(weight)


@cache
def _busy() -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Delay → what was measured, and what was planted, in seconds. Delay 0 is what starting itself takes."""
    draws = random.Random(4)
    planted: dict[int, list[float]] = {0: [0.0] * BUSY_BLOCKS}
    for delay_ms in DELAYS_MS:
        planted[delay_ms] = [delay_ms / 1000 * draws.uniform(0.5, 1.5) for _ in range(BUSY_BLOCKS)]
    with ExitStack() as stack:
        stack.enter_context(_undisturbed())
        runtimes = {f"busy-{ms}": stack.enter_context(BusyRuntime(f"busy-{ms}", iter(planted[ms]))) for ms in planted}
        supports = {name: Support(available=True) for name in runtimes}
        config = Config(
            suite="", scenarios=("boot",), runtimes=tuple(runtimes), blocks=BUSY_BLOCKS, warmup_blocks=0, settle_s=0.1,
            reference="", repeat_tainted=False,
        )  # fmt: skip
        opened = Session(config, supports, names=(f"busy-{number}" for number in range(10**6)))
        opened.runtimes |= runtimes
        opened.prepared |= {name: one.prepared for name, one in runtimes.items()}
        trials = _trials(opened, [boot], plan.plan(config, [boot], supports, 4))
    measured: dict[int, list[float]] = {ms: [] for ms in planted}
    for trial in trials:
        measured[int(trial.step.cell.runtime.partition("-")[2])].append(_value(trial, "boot.ready"))
    return measured, planted


def busy_bias(delay_ms: int) -> Row:
    """How far what is measured is from what was planted, beyond what starting a child takes anyway."""
    measured, planted = _busy()
    own_s = float(np.median(measured[0]))
    bias_s = float(np.median(np.subtract(measured[delay_ms], planted[delay_ms]))) - own_s
    return Row(f"busy-wait of {delay_ms} ms in a child: |bias|", "ms", (abs(bias_s) * 1000,), at_most=0.15)


def busy_spread(delay_ms: int) -> Row:
    measured, planted = _busy()
    ratio = float(stats.iqr(measured[delay_ms]) / stats.iqr(planted[delay_ms]))
    return Row(f"busy-wait of {delay_ms} ms in a child: spread ÷ planted", "", (ratio,), at_least=0.9, at_most=1.1)


# Real runtimes, opened once.


@contextmanager
def _opened(home: Path, names: Sequence[str], **changes: object) -> Iterator[Session]:
    """The real runtimes over the real image."""
    config = Config(
        suite="", scenarios=("boot",), runtimes=tuple(names), settle_s=0.5, cpuset=(max(os.sched_getaffinity(0)),)
    )
    config = msgspec.structs.replace(config, **changes)
    with marks.claimed(marks.new_id()) as mark, tempfile.TemporaryDirectory() as scratch:
        image = rerun.image_of(config, home)
        workspace = session.workspaces(home, Path(scratch), mark, {})
        with session.opened(config, lambda _: image, workspace, mark) as opened:
            missing = [name for name in names if not opened.supports[name].available]
            if missing:
                raise Unsupported(f"{missing[0]}: {opened.supports[missing[0]].reason}")
            yield opened


HOME = Path(os.environ.get("TARE_METROLOGY_HOME") or tempfile.gettempdir(), "tare-metrology")
"""Kernels and images are kept between benchmarks: preparing them is no part of any number here."""


def _touch(instance: Instance, bench: Bench) -> None:
    """Holds that many MiB inside: dd has read them into its buffer, and nobody takes them off its hands."""
    size = bench.params["touched"]
    script = (
        f'cd "$TARE_TMP"; (dd if=/dev/zero bs={size}M count=1 2>/dev/null | (head -c 1 >touched; sleep 1000)) '
        ">/dev/null 2>&1 </dev/null & while [ ! -s touched ]; do sleep 0.1; done"
    )
    if size != "0":
        instance.run(["sh", "-c", script], bench.run_timeout_s)


def _touching(bench: Bench) -> Iterator[Finding]:
    @contextmanager
    def start() -> Iterator[Instance]:
        with bench.start() as instance:
            instance.wait_ready(bench.ready_timeout_s)
            _touch(instance, bench)
            yield instance

    yield from memory.measure(replace(bench, start=start))


@cache
def _touched() -> dict[tuple[str, str, int], float]:
    """(Runtime, metric, MiB touched) → bytes."""
    scenario = replace(memory, measure=_touching, grid={"touched": [str(size) for size in (0, *TOUCHED_MIB)]})
    with _opened(HOME, REAL) as opened:
        config = msgspec.structs.replace(opened.config, blocks=1, warmup_blocks=0, reference="", repeat_tainted=False)
        opened.config = config
        trials = _trials(opened, [scenario], plan.plan(config, [scenario], opened.supports, 1))
    return {
        (trial.step.cell.runtime, sample.metric, int(trial.step.cell.params["touched"])): sample.value
        for trial in trials
        for sample in trial.samples
    }


def memory_touched(runtime: str, metric: str, size: int) -> Row:
    """How far the rise is from what was touched, as a share of what the check allows: 2 % and 1 MiB."""
    found = _touched()
    rise = found[runtime, metric, size] - found[runtime, metric, 0]
    wrong = abs(rise - size * MIB) / (0.02 * size * MIB + MIB)
    what = f"{size} MiB touched in {runtime}: {metric} +{rise / MIB:.2f} MiB; error ÷ (2 % + 1 MiB)"
    return Row(what, "", (wrong,), at_most=1.0)


def memory_host_view(size: int) -> Row:
    """Beside the guest's view: the host's. It holds every page the guest ever touched and is given none back.

    What a guest touches anew may be pages its boot has touched before: the rise is not what was touched, so no bound.
    """
    found = _touched()
    rise = found["tcg", "memory.pss", size] - found["tcg", "memory.pss", 0]
    return Row(
        f"{size} MiB touched in tcg: the host's memory.pss; touched once, resident for good", "MiB", (rise / MIB,)
    )


# Fixed work under a quota.

_LOOP = "i=0; while [ $i -lt {rounds} ]; do i=$((i + 1)); done"
_WORK_ROUNDS = 400_000
"""Half a second of one CPU: short, so that turns follow each other faster than a shared CPU changes its speed."""
_SATURATE_ROUNDS = 60_000
"""A box that was idle has a period's quota in hand: it is spent first, or short work would seem too fast."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Fixed work once. `elapsed_s` = CPU seconds + throttled + waited, by the kernel's own account of the box."""

    elapsed_s: float
    cpu_s: float
    throttled_s: float


def _turn(box: Instance) -> Turn | None:
    """None when the hypervisor below took so much meanwhile that a trial would be tainted."""
    assert box.cgroup is not None
    witness = taints.HostWitness()
    witness.begin()
    box.run(["sh", "-c", _LOOP.format(rounds=_SATURATE_ROUNDS)], 60.0)
    began_s = time.monotonic()  # at once: a pause in the middle of a period is made good at its end
    cpu_s, throttled_s = gauges.cpu_s(box), box.cgroup.throttled_s()
    box.run(["sh", "-c", _LOOP.format(rounds=_WORK_ROUNDS)], 60.0)
    elapsed_s, spent_s = time.monotonic() - began_s, gauges.cpu_s(box)
    if cpu_s is None or spent_s is None:
        raise Unsupported("no account of a container's CPU time is kept here")
    if "steal" in taints.of(witness.evidence(), settled=True):
        return None
    return Turn(elapsed_s, spent_s - cpu_s, box.cgroup.throttled_s() - throttled_s)


@cache
def _quota() -> dict[float, list[Turn]]:
    """Quota → its turns: one box each, all alive, each block a turn of every box."""
    found: dict[float, list[Turn]] = {quota: [] for quota in QUOTAS}
    draws = random.Random(1)
    with _opened(HOME, ["container"]) as opened, ExitStack() as stack:
        boxes = {}
        for quota in QUOTAS:
            spec = msgspec.structs.replace(opened.spec("container"), name=next(opened.names), cpus=quota)
            boxes[quota] = stack.enter_context(opened.runtimes["container"].start(spec))
            boxes[quota].wait_ready(10.0)
            _preferred(boxes[quota].cgroup)
        for _ in range(QUOTA_BLOCKS):
            for quota in draws.sample(QUOTAS, len(QUOTAS)):
                turn = _turn(boxes[quota])
                if turn is not None:
                    found[quota].append(turn)
    fewest = min(map(len, found.values()))
    if fewest < QUOTA_BLOCKS / 2:
        raise TareError(f"the hypervisor took more than {taints.STEAL_TAINT:.0%} in all but {fewest} turns")
    return found


def quota_elapsed(quota: float) -> Row:
    """Seconds a CPU second takes, over the same of a whole CPU and what a quota makes of it.

    Each turn by its own CPU seconds: the speed of a shared CPU changes more from turn to turn than the bound allows.
    What the whole CPU was kept from by others is not in it: the kernel says of what was not throttled that it waited.
    """
    found = _quota()
    whole, turns = _sums(found[1.0]), _sums(found[quota])
    ratio = turns.elapsed_s / turns.cpu_s / (1 + whole.throttled_s / whole.cpu_s) * quota
    what = f"fixed work at {quota:.0%} CPU: elapsed per CPU second ÷ at 100 %, × {quota:g}"
    return Row(what, "", (ratio,), at_least=0.97, at_most=1.03)


def quota_plain(quota: float) -> Row:
    """The same without regard to what the CPU's own speed was meanwhile: only a CPU that nobody shares holds it."""
    found = _quota()
    mean_s = {each: _sums(turns).elapsed_s / len(turns) for each, turns in found.items()}
    ratio = mean_s[quota] / mean_s[1.0] * quota
    return Row(
        f"fixed work at {quota:.0%} CPU: elapsed ÷ at 100 %, × {quota:g}", "", (ratio,), at_least=0.97, at_most=1.03
    )


def _sums(turns: Sequence[Turn]) -> Turn:
    """All turns as one: a turn ends anywhere in a period and is off by up to a part of one, either way."""
    return Turn(*(sum(getattr(turn, name) for turn in turns) for name in Turn.__slots__))


def quota_cpu(quota: float) -> Row:
    """Least against least: a neighbour on the same core can only add to the CPU seconds of fixed work."""
    found = _quota()
    ratio = min(turn.cpu_s for turn in found[quota]) / min(turn.cpu_s for turn in found[1.0])
    return Row(f"fixed work at {quota:.0%} CPU: CPU seconds ÷ at 100 %", "", (ratio,), at_least=0.97, at_most=1.03)


# The same against itself.


@cache
def _against_itself() -> dict[str, list[str]]:
    """Runtime → the verdicts of all its metrics on itself; the two sides are one request, interleaved."""
    names = [*REAL, *(name + rerun.BASE for name in REAL)]
    with _opened(HOME, names, blocks=AA_BLOCKS, warmup_blocks=0) as opened:
        trials = _trials(opened, [boot], plan.plan(opened.config, [boot], opened.supports, 1))
        facts = ScenarioFacts(name=boot.name, asks=boot.asks, metrics=boot.metrics)
        run = Run(
            id="itself", version="", started_at="", command=(), seed=1, host={}, config=opened.config,
            supports=opened.supports, images={}, scenarios=(facts,),
        )  # fmt: skip
    results = Results(run=run, trials=tuple(trials))
    ruling = gate.compare(Question(old=Side(results, "@base"), new=Side(results, "@new"), form="json"))
    found: dict[str, list[str]] = {name: [] for name in REAL}
    for row in msgspec.json.decode(ruling.document)["rows"]:
        found[row["runtime"]].append(row["verdict"])
    return found


def against_itself(runtime: str) -> Row:
    verdicts = _against_itself()[runtime]
    assert verdicts
    wrong = sum(verdict not in ("SAME", "INCONCLUSIVE") for verdict in verdicts)
    said = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))
    return Row(f"A/A of {runtime}: {said}; others", "", (float(wrong),), at_most=0)


def forget() -> None:
    """Everything is measured anew when it is next asked for."""
    for measured in (_busy, _touched, _quota, _against_itself):
        measured.cache_clear()

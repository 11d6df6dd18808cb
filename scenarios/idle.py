"""What does a box cost while nothing happens in it?

    ready ──settling──▶ window: CPU time of the whole box, before and after

A blocked process costs nothing. A virtual machine's kernel wakes for its timers, and each time its monitor does too.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract import Absent, Bench, Finding, Scenario
from harness.model import Better, Metric, Sample, Unit
from scenarios import gauges

SETTLING_S = 2.0
"""A kernel that has just booted still has work put off until then."""

FLOOR = 0.001


def measure(bench: Bench) -> Iterator[Finding]:
    with bench.start() as instance:
        instance.wait_ready(bench.ready_timeout_s)
        bench.sleep(SETTLING_S)
        before_s, began_s = gauges.cpu_s(instance), bench.clock()
        bench.sleep(float(bench.params["seconds"]))
        after_s, ended_s = gauges.cpu_s(instance), bench.clock()
    if before_s is None or after_s is None:
        yield Absent("idle.cpu", "no cgroup keeps an account of this box's CPU time (not root?)")
    else:
        yield Sample("idle.cpu", (after_s - before_s) / (ended_s - began_s))


idle = Scenario(
    name="idle",
    asks="What does a box cost while nothing happens in it?",
    metrics=(
        Metric(
            name="idle.cpu",
            unit=Unit.RATIO,
            better=Better.LOWER,
            meaning="share of one host CPU spent on a ready box in which every program waits",
            floor=FLOOR,
        ),
    ),
    measure=measure,
    grid={"seconds": ("10",)},
)

"""How long from the request to a box that answers?

    request ──create──▶ first process ──spawn──▶ first instruction ──firmware, kernel──▶ init ──userspace──▶ ready
    └───────────────────────────────────────── boot.ready ────────────────────────────────────────────────┘

The request is the instant before any call that creates; ready is the arrival of the agent's first byte on the host.
A box without a firmware or a kernel of its own has no such phase: it is absent, not zero.

And how long to a box that serves? Its box has a network, which costs time to make, so it is a scenario of its own:

    request ──▶ ready ──the agent starts the image's web server──▶ it listens ──▶ first HTTP 200 read on the host
    └──────────────────────────────────── boot.service ─────────────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract import Absent, Bench, Finding, Scenario
from harness.model import Better, Feature, Metric, Sample, Unit
from scenarios import web

PHASES = {
    "create": "control plane: the request → the box's first process exists",
    "spawn": "→ its first instruction may run (a virtual machine: it is resumed)",
    "firmware": "→ the kernel is entered",
    "kernel": "→ its first userspace process says so; firmware included where that cannot be told apart",
    "userspace": "→ the agent's first byte is read on the host",
}
NO_PHASE = "this kind of box has no such phase"
FLOOR_S = 0.001
PRECISION = 0.05
"""Starts vary more than what a box holds or computes: a median within 5 % is enough."""


def measure(bench: Bench) -> Iterator[Finding]:
    began_s = bench.clock()
    with bench.start() as instance:
        instance.wait_ready(bench.ready_timeout_s)
        ready_s = bench.clock()
        phases = {phase.name: phase for phase in instance.phases()}
        left_s = bench.clock()
    gone_s = bench.clock()
    yield Sample("boot.ready", ready_s - began_s)
    yield Sample("boot.gone", gone_s - left_s)
    for name in PHASES:
        if name in phases:
            yield Sample(f"boot.phase.{name}", phases[name].ended_s - phases[name].began_s)
        else:
            merged = name == "firmware" and "kernel" in phases
            why = "it cannot be told apart here, and is in boot.phase.kernel" if merged else NO_PHASE
            yield Absent(f"boot.phase.{name}", why)


def measure_service(bench: Bench) -> Iterator[Finding]:
    began_s = bench.clock()
    with bench.start() as instance:
        instance.wait_ready(bench.ready_timeout_s)
        answered_s = web.first_ok_s(web.serve(instance, bench), bench)
    yield Sample("boot.service", answered_s - began_s)


boot = Scenario(
    name="boot",
    asks="How long from the request to a box that answers?",
    metrics=(
        Metric(
            name="boot.ready",
            unit=Unit.SECONDS,
            better=Better.LOWER,
            meaning="the request, before any create call → the agent's first byte is read on the host",
            floor=FLOOR_S,
            precision=PRECISION,
        ),
        *(
            Metric(
                name=f"boot.phase.{name}",
                unit=Unit.SECONDS,
                better=Better.LOWER,
                meaning=meaning,
                floor=FLOOR_S,
                precision=PRECISION,
            )
            for name, meaning in PHASES.items()
        ),
        Metric(
            name="boot.gone",
            unit=Unit.SECONDS,
            better=Better.LOWER,
            meaning="the request to end the box → no process, cgroup, mount or file of it is left",
            floor=FLOOR_S,
            precision=PRECISION,
        ),
    ),
    measure=measure,
)

service = Scenario(
    name="boot-service",
    asks="How long from the request to a box that serves?",
    metrics=(
        Metric(
            name="boot.service",
            unit=Unit.SECONDS,
            better=Better.LOWER,
            meaning="the request, before any create call → the first HTTP 200 of the box's own web server is read on "
            "the host, over the box's network address",
            floor=FLOOR_S,
            precision=PRECISION,
        ),
    ),
    measure=measure_service,
    needs=frozenset({Feature.NETWORK}),
)

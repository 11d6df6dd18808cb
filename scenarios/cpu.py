"""How long does fixed work take inside, and how many CPU seconds does the host spend on it?

Every kernel is a command of the image's own busybox, so the same binary does the same work everywhere. `time` is the
host's clock around the command, the agent's round trip included; `host` is the CPU time of everything that exists
because of the box, so work that a virtual machine's monitor does on its behalf is in it. What the host counts of
virtual CPUs is asked before the first kernel and after the last, never between two readings of a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from harness.contract import Absent, Bench, Counts, Finding, Scenario
from harness.errors import TrialFailed
from harness.model import Better, Metric, Sample, Unit
from scenarios import gauges

KERNELS = {
    "integer": "a loop of additions and remainders in the shell",
    "float": "multiplications and divisions in awk",
    "compress": "gzip of a repeated text",
    "crypto": "SHA-256 of zero bytes",
    "fork": "starting and waiting for /bin/true",
    "syscall": "reads and writes of one byte each",
    "memory": "reading zero bytes into a 32 MiB buffer",
}
FLOOR_S = 0.005
_COUNTED = (
    Metric(
        name="cpu.steal",
        unit=Unit.SECONDS,
        better=Better.NEITHER,
        meaning="time that virtual CPUs were ready to run and the host ran something else, over all kernels",
    ),
    Metric(
        name="cpu.exits",
        unit=Unit.RATIO,
        better=Better.NEITHER,
        meaning="times that the CPU left the guest for the host, over all kernels",
    ),
)


def measure(bench: Bench) -> Iterator[Finding]:
    script = (resources.files("scenarios.workloads") / "cpu.sh").read_text()
    with bench.start() as instance:
        instance.wait_ready(bench.ready_timeout_s)
        gauges.cpu_s(instance)  # the first reading may set up the account
        before = gauges.counts(instance)
        for kernel in KERNELS:
            argv = ["sh", "-c", script, "cpu", kernel, bench.params["size"]]
            before_cpu_s, began_s = gauges.cpu_s(instance), bench.clock()
            done = instance.run(argv, bench.run_timeout_s)
            ended_s, after_cpu_s = bench.clock(), gauges.cpu_s(instance)
            if done.exit_code != 0:
                raise TrialFailed(f"kernel {kernel} ended with {done.exit_code}", log=done.stderr.decode())
            yield Sample(f"cpu.{kernel}.time", ended_s - began_s)
            if before_cpu_s is None or after_cpu_s is None:
                yield Absent(f"cpu.{kernel}.host", "no cgroup keeps an account of this box's CPU time (not root?)")
            else:
                yield Sample(f"cpu.{kernel}.host", after_cpu_s - before_cpu_s)
        yield from _counted(before, gauges.counts(instance))


def _counted(before: Counts | None, after: Counts | None) -> Iterator[Finding]:
    if before is None or after is None:
        for metric in _COUNTED:
            yield Absent(metric.name, "this box has no virtual CPUs")
        return
    changes = ((before.steal_s, after.steal_s), (before.exits, after.exits))
    for metric, (first, last) in zip(_COUNTED, changes, strict=True):
        if first is None or last is None:
            yield Absent(metric.name, "the host keeps no such count of this box's virtual CPUs")
        else:
            yield Sample(metric.name, last - first)


cpu = Scenario(
    name="cpu",
    asks="How long does fixed work take inside, and how many CPU seconds does the host spend on it?",
    metrics=(
        *(
            Metric(name=f"cpu.{kernel}.{view}", unit=Unit.SECONDS, better=Better.LOWER, meaning=meaning, floor=FLOOR_S)
            for kernel, work in KERNELS.items()
            for view, meaning in (
                ("time", f"{work}: fixed work by the host's clock"),
                ("host", f"{work}: CPU seconds the host spent on the box meanwhile"),
            )
        ),
        *_COUNTED,
    ),
    measure=measure,
    grid={"size": ("standard",)},
)

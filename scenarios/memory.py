"""What does an idle box hold, seen from the host and from inside?

    ready ──settling──▶ window: three readings ──▶ median of each

The host's view counts every process that exists because of the box, its helpers included. The view from inside is
what a program in the box would be told. The two differ in a virtual machine, and that difference is the point.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from harness.contract import Absent, Bench, Completed, Finding, Instance, Scenario
from harness.errors import TrialFailed
from harness.model import Better, Feature, Kind, Metric, Sample, Unit
from scenarios import gauges

SETTLING_S = 0.1
READINGS = 3
PAUSE_S = 0.05
FLOOR_BYTES = 1 << 20


def measure(bench: Bench) -> Iterator[Finding]:
    with bench.start() as instance:
        instance.wait_ready(bench.ready_timeout_s)
        bench.sleep(SETTLING_S)
        readings = [_read(instance, bench) for _ in range(READINGS)]
        inside = _inside_bytes(instance.run(["cat", "/proc/meminfo"], bench.run_timeout_s))
    for name in readings[0]:
        yield Sample(name, statistics.median(reading[name] for reading in readings))
    if "memory.cgroup" not in readings[0]:
        yield Absent("memory.cgroup", "no memory cgroup is kept for this box")
    if "memory.guest_resident" not in readings[0]:
        for name in ("memory.guest_resident", "memory.vmm"):
            yield Absent(name, "this kind of box has no memory of a guest")
    if "memory.generated" not in readings[0]:
        yield Absent("memory.generated", "no process of this box makes code at run time")
    yield Sample("memory.inside", inside)
    if Feature.LIMITS in bench.features or "memory.guest_resident" in readings[0]:  # a guest has what it was given
        yield Sample("memory.requested", bench.spec.memory_bytes)
    else:
        yield Absent("memory.requested", "this kind of box is given no limit")


def _read(instance: Instance, bench: Bench) -> dict[str, float]:
    bench.sleep(PAUSE_S)
    reading: dict[str, float] = {"memory.pss": gauges.pss_bytes(instance.pids())}
    charged = instance.cgroup.memory_bytes() if instance.cgroup is not None else None
    if charged is not None:
        reading["memory.cgroup"] = charged
    found = gauges.mappings(instance.pids())
    reading["memory.files"] = gauges.file_bytes(found)
    generated = gauges.generated_bytes(found)
    if generated is not None:
        reading["memory.generated"] = generated
    guest = gauges.guest_resident_bytes(found)
    if guest is not None:
        reading["memory.guest_resident"] = guest
        reading["memory.vmm"] = max(0, reading["memory.pss"] - guest)
    return reading


def _inside_bytes(done: Completed) -> int:
    """MemTotal − MemAvailable as a program inside is told, by /proc/meminfo."""
    fields = dict(line.split(":") for line in done.stdout.decode().splitlines() if ":" in line)
    try:
        return (int(fields["MemTotal"].split()[0]) - int(fields["MemAvailable"].split()[0])) * 1024
    except (KeyError, ValueError):
        raise TrialFailed("/proc/meminfo inside the box has no MemTotal or MemAvailable") from None


def _bytes(name: str, meaning: str, kind: Kind = Kind.SAMPLED, better: Better = Better.LOWER) -> Metric:
    return Metric(name=name, unit=Unit.BYTES, better=better, kind=kind, meaning=meaning, floor=FLOOR_BYTES)


memory = Scenario(
    name="memory",
    asks="What does an idle box hold, seen from the host and from inside?",
    metrics=(
        _bytes("memory.pss", "proportional set size of every host process that exists because of the box"),
        _bytes("memory.cgroup", "memory charged to the box's cgroup, less inactive file cache"),
        _bytes("memory.guest_resident", "memory of the guest that is resident on the host"),
        _bytes("memory.vmm", "memory.pss less memory.guest_resident: the virtual machine monitor itself"),
        _bytes(
            "memory.files",
            "the part of memory.pss that maps files: programs and libraries, shared with all who map them",
        ),
        _bytes(
            "memory.generated",
            "the part of memory.pss that holds code made at run time: under emulation the translated guest",
        ),
        _bytes(
            "memory.inside",
            "MemTotal − MemAvailable as a program in the box reads them (without a kernel of its own, the host's)",
            better=Better.NEITHER,
        ),
        _bytes("memory.requested", "the limit the box was given", Kind.EXACT, Better.NEITHER),
    ),
    measure=measure,
)

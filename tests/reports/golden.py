"""The golden run: small, deterministic, with every outcome a real run may hold, and hostile strings.

`tests/data/golden/` holds what `golden()` makes and what the reports make of it. `python -m tests.reports.golden`
writes those files.
"""

from __future__ import annotations

import random
from pathlib import Path

from harness.model import (
    Artifact,
    Better,
    Cell,
    Config,
    Image,
    Kind,
    Layer,
    Metric,
    Outcome,
    Prepared,
    Results,
    Role,
    Run,
    Sample,
    ScenarioFacts,
    Step,
    Support,
    Trial,
    Unit,
)
from reports.csv import csv
from reports.text import text
from tests.reports import planted

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
MIB = 1 << 20
CONTENT = "sha256:" + "c0" * 32


def _metric(name: str, meaning: str, floor: float = 0.0, *, unit: Unit = Unit.SECONDS, exact: bool = False) -> Metric:
    neither = name in ("memory.inside", "memory.requested")
    return Metric(
        name=name,
        unit=unit,
        better=Better.NEITHER if neither else Better.LOWER,
        kind=Kind.EXACT if exact else Kind.SAMPLED,
        meaning=meaning,
        floor=floor,
    )


SCENARIOS = (
    ScenarioFacts(
        name="boot",
        asks="How long from the request to a box that answers?",
        metrics=(
            _metric("boot.ready", "the request → the agent's first byte is read on the host", 0.001),
            *(
                _metric(f"boot.phase.{phase}", f"the phase {phase}", 0.001)
                for phase in ("create", "spawn", "firmware", "kernel", "userspace")
            ),
        ),
    ),
    ScenarioFacts(
        name="memory",
        asks="What does an idle box hold, seen from the host and from inside?",
        metrics=(
            *(
                _metric(f"memory.{view}", meaning, MIB, unit=Unit.BYTES)
                for view, meaning in {
                    "pss": "proportional set size of every host process that exists because of the box",
                    "cgroup": "memory charged to the box's cgroup, less inactive file cache",
                    "guest_resident": "memory of the guest that is resident on the host",
                    "vmm": "memory.pss less memory.guest_resident",
                    "inside": "MemTotal − MemAvailable as a program in the box reads them",
                }.items()
            ),
            _metric("memory.requested", "the limit the box was given", unit=Unit.BYTES, exact=True),
        ),
    ),
    ScenarioFacts(
        name="disk",
        asks="What does an image weigh on disk, and what does one more instance add?",
        metrics=(
            *(
                _metric(f"disk.{view}", meaning, 64 << 10, unit=Unit.BYTES, exact=True)
                for view, meaning in {
                    "content": "bytes of all regular files of the image",
                    "transfer": "bytes to ship it, compressed, kernel and initrd included",
                    "transfer.kernel": "the part of disk.transfer that is the kernel",
                    "transfer.initrd": "the part of disk.transfer that is the initrd",
                    "virtual": "what root, kernel and initrd claim to be",
                    "allocated": "what root, kernel and initrd occupy on this host's disk",
                }.items()
            ),
            _metric("disk.marginal", "what one more ready instance occupies", 64 << 10, unit=Unit.BYTES),
        ),
    ),
    ScenarioFacts(
        name="cpu",
        asks="How long does fixed work take inside?",
        metrics=tuple(
            _metric(f"cpu.{kernel}.{view}", f"{kernel}: {meaning}", 0.005)
            for kernel in ("integer", "crypto", "fork")
            for view, meaning in (("time", "by the host's clock"), ("host", "CPU seconds the host spent"))
        ),
    ),
)

_PHASES = {
    "native": {"create": 0.001, "userspace": 0.002},
    "container": {"create": 0.008, "spawn": 0.004, "userspace": 0.002},
    "tcg": {"create": 0.3, "spawn": 0.1, "firmware": 0.5, "kernel": 2.2, "userspace": 0.4},
}
_MEMORY = {
    "native": {"pss": 0.5, "inside": 900.0},
    "container": {"pss": 0.52, "cgroup": 0.8, "inside": 900.0},
    "tcg": {"guest_resident": 62.0, "vmm": 31.0, "cgroup": 95.0, "inside": 28.0},
}
_DISK = {
    "native": {"transfer": 1_100_000, "virtual": 2_200_000, "allocated": 2_260_992},
    "container": {"transfer": 1_100_000, "virtual": 2_200_000, "allocated": 2_260_992},
    "tcg": {
        "transfer": 9_900_000,
        "transfer.kernel": 8_000_000,
        "transfer.initrd": 800_000,
        "virtual": 268_435_456,
        "allocated": 17_301_504,
    },
}
_CPU = {"native": 1.0, "container": 1.0, "tcg": 9.0}
_WORK = {"integer": 0.4, "crypto": 0.3, "fork": 0.2}
_NO_PHASE = "this kind of box has no such phase"


def golden() -> Results:
    """A run of 12 blocks: one box like the reference, one emulated, one that is not there; failures among the good."""
    rng = random.Random(20)
    cells = [
        Cell(scenario=scenario, runtime=runtime, params={"size": "small"} if scenario == "cpu" else {}, twin=twin)
        for scenario in ("boot", "memory", "disk", "cpu")
        for runtime, twin in (("native", False), ("native", True), ("container", False), ("tcg", False))
    ]
    trials = [_skipped(Cell(scenario=name, runtime="kvm")) for name in ("boot", "memory", "disk", "cpu")]
    for block in range(13):
        for position, cell in enumerate(rng.sample(cells, len(cells))):
            step = Step(cell=cell, block=block, position=position, warmup=block == 0)
            trials.append(_trial(step, rng, len(trials)))
    return Results(run=_golden_run(), trials=tuple(trials))


def _skipped(cell: Cell) -> Trial:
    step = Step(cell=cell, skip="/dev/kvm does not exist")
    return Trial(step=step, outcome=Outcome.SKIPPED, reason=step.skip, started_at=planted.at(0), elapsed_s=0.0)


def _trial(step: Step, rng: random.Random, index: int) -> Trial:
    cell = step.cell
    place = (cell.scenario, cell.runtime, step.block)
    if place in (("boot", "tcg", 4), ("cpu", "container", 7)):
        outcome = Outcome.TIMEOUT if cell.runtime == "tcg" else Outcome.FAILED
        reason = {
            Outcome.TIMEOUT: "not ready after 60 s </script><b>&",
            Outcome.FAILED: "kernel crypto ended with 139",
        }[outcome]
        return Trial(step=step, outcome=outcome, reason=reason, started_at=planted.at(index), elapsed_s=60.0)
    samples = {"boot": _boot, "memory": _memory, "disk": _disk, "cpu": _cpu}[cell.scenario](cell.runtime, rng)
    if place == ("boot", "container", 9):  # one value far out, with independent evidence
        samples = {name: value * 6 for name, value in samples.items()}
    slow = 3.0 if step.warmup else 1.0
    return Trial(
        step=step,
        outcome=Outcome.OK,
        started_at=planted.at(index),
        elapsed_s=round(sum(_boot(cell.runtime, rng).values()), 6),
        settle_s=0.05,
        samples=tuple(Sample(k, v if cell.scenario == "disk" else round(v * slow, 9)) for k, v in samples.items()),
        absent=_absent(cell),
        taints=("steal 12 %",) if place == ("boot", "container", 9) else (),
        noise={"load": round(rng.uniform(0, 1), 3)},
    )


def _boot(runtime: str, rng: random.Random) -> dict[str, float]:
    phases = {f"boot.phase.{name}": round(s * rng.lognormvariate(0, 0.02), 9) for name, s in _PHASES[runtime].items()}
    return {"boot.ready": round(sum(phases.values()), 9), **phases}


def _memory(runtime: str, rng: random.Random) -> dict[str, float]:
    found = {f"memory.{n}": float(round(m * MIB * rng.lognormvariate(0, 0.004))) for n, m in _MEMORY[runtime].items()}
    if "memory.vmm" in found:
        found["memory.pss"] = found["memory.vmm"] + found["memory.guest_resident"]
    return {**found, "memory.requested": 256.0 * MIB}


def _disk(runtime: str, rng: random.Random) -> dict[str, float]:
    marginal = {"native": 0.0, "container": 8192.0, "tcg": 200_704.0}[runtime]
    found = {f"disk.{name}": float(size) for name, size in _DISK[runtime].items()}
    return {"disk.content": 2_100_000.0, **found, "disk.marginal": marginal}


def _cpu(runtime: str, rng: random.Random) -> dict[str, float]:
    found = {}
    for kernel, work_s in _WORK.items():
        time_s = work_s * _CPU[runtime] * rng.lognormvariate(0, 0.01)
        extra = 1.6 if (runtime, kernel) == ("container", "fork") else 1.0
        found[f"cpu.{kernel}.time"] = round(time_s * extra, 9)
        found[f"cpu.{kernel}.host"] = round(time_s * extra * 1.02, 9)
    return found


def _absent(cell: Cell) -> dict[str, str]:
    if cell.scenario == "boot":
        return {f"boot.phase.{n}": _NO_PHASE for n in _PHASES["tcg"] if n not in _PHASES[cell.runtime]}
    if cell.scenario == "memory" and cell.runtime != "tcg":
        cgroup = {"memory.cgroup": "no memory cgroup is kept for this box"} if cell.runtime == "native" else {}
        return {f"memory.{n}": "this kind of box has no memory of a guest" for n in ("guest_resident", "vmm")} | cgroup
    if cell.scenario == "disk" and cell.runtime != "tcg":
        return {f"disk.transfer.{n}": f"this kind of box brings no {n} of its own" for n in ("kernel", "initrd")}
    return {}


_ROOT, _LAYER = "/var/lib/tare/images/tiny/root", "/var/lib/tare/images/tiny/layer"
_IMAGE = Image(
    name="tiny",
    digest="sha256:" + "d1" * 32,
    content_digest=CONTENT,
    content_bytes=2_100_000,
    layers=(Layer(digest="sha256:a", diff_id="sha256:b", media_type="tar+gzip", size_bytes=1_100_000, path=_LAYER),),
    root=_ROOT,
)
_PLAIN = (Artifact(role=Role.ROOT, path=_ROOT), Artifact(role=Role.LAYER, path=_LAYER, compressed=True))
_KERNEL = Artifact(role=Role.KERNEL, path="/var/lib/tare/kernels/6.1/vmlinuz")
_HOST = {
    "cpu_model": "Planted CPU <2 GHz>",
    "kernel": "6.1.0-planted",
    "cpus": 4,
    "memory_bytes": 8 << 30,
    "virtualised": True,
    "cgroup_controllers": ["cpu", "memory"],
    "harness_floor_s": 1.2e-7,
}
_CONFIG = Config(
    suite="standard",
    scenarios=("boot", "memory", "disk", "cpu"),
    runtimes=("native", "container", "kvm|tcg"),
    blocks=12,
)
_SUPPORTS = {
    "native": Support(available=True, version="6.1.0-planted"),
    "container": Support(available=True, version="6.1.0-planted"),
    "kvm": Support(available=False, reason="/dev/kvm does not exist", hint="load the kvm module"),
    "tcg": Support(available=True, version="QEMU 7.2.0", emulated=True),
}
_DOCUMENTS = {
    "tcg": {
        "domain XML": "<domain type='qemu'>\n  <name>tare-golden-1</name>\n</domain>",
        "kernel command line": "console=hvc0 panic=-1 </script><script>alert(1)</script>",
    }
}


def _golden_run() -> Run:
    return Run(
        id="20260102-030000-golden",
        version="0.1.0",
        started_at=planted.at(0),
        command=("tare", "run", "standard", "--blocks", "12"),
        seed=20260102,
        host=_HOST,
        config=_CONFIG,
        supports=_SUPPORTS,
        images={"tiny": _IMAGE},
        scenarios=SCENARIOS,
        prepared={
            "native": Prepared(image=_IMAGE, artifacts=_PLAIN),
            "container": Prepared(image=_IMAGE, artifacts=_PLAIN),
            "tcg": Prepared(image=_IMAGE, artifacts=(*_PLAIN, _KERNEL)),
        },
        digests_inside={"native": CONTENT, "container": CONTENT, "tcg": CONTENT},
        documents=_DOCUMENTS,
        warnings=("the host is itself a virtual machine",),
    )


def _write() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    results = golden()
    for name, content in planted.files(results).items():
        (GOLDEN / name).write_bytes(content)
    (GOLDEN / "report.txt").write_text(text.render([results]))
    (GOLDEN / "samples.csv").write_text(csv.render([results]))


if __name__ == "__main__":
    _write()

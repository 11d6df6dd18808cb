"""Virtual machines against what can be had by hand: boots of each profile, restores, teardown, many at once, in a row.

Boots that are compared are made by turns on one CPU, and each pair gives one ratio. Everything is emulation here unless
the host has a KVM that works; ratios then hold for emulation alone.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import msgspec

from harness import kernels, marks, paths, registry, request, rerun
from harness.contract import Checkpointable, Instance, Restorer, Workspace
from harness.errors import TrialFailed
from harness.model import Config, Kernel, Prepared, Spec
from tests.benchmarks import bare_qemu, virtme
from tests.benchmarks.bare_qemu import READY_TIMEOUT_S, Machine
from tests.benchmarks.frame import Row

PAIRS, USUAL_PAIRS, VIRTME_PAIRS, RESTORES, MANY, AT_ONCE, IN_A_ROW = 10, 5, 10, 10, 100, 8, 20
_MACHINES = {"tcg": bare_qemu.DIRECT, "tcg-micro": bare_qemu.MICRO}


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of ours beside one of theirs."""

    ready_s: float
    create_s: float
    gone_s: float
    bare_s: float


@dataclass(frozen=True, slots=True)
class Bench:
    """A runtime, opened, with an image."""

    runtime: Restorer
    prepared: Prepared
    scratch: Path
    names: Iterator[str]
    cpu: int

    def spec(self) -> Spec:
        return Spec(name=next(self.names), prepared=self.prepared, cpuset=(self.cpu,))

    def boot(self, theirs: Callable[[str], float]) -> Boot:
        """`theirs` is given the command line of our kernel, and seconds come back."""
        began_s = time.monotonic()
        with self.runtime.start(self.spec()) as box:
            box.wait_ready(READY_TIMEOUT_S)
            ready_s = time.monotonic() - began_s
            create = box.phases()[0]
            append = box.documents()["kernel command line"].strip()
            left_s = time.monotonic()
        gone_s = time.monotonic() - left_s
        return Boot(ready_s, create.ended_s - create.began_s, gone_s, theirs(append))


@contextmanager
def opened(name: str, kernel: Kernel | None = None) -> Iterator[Bench]:
    """The runtime of that name; one box is started and dropped, so that all it caches is there."""
    home = paths.home()
    image = rerun.image_of(Config(suite="bench", scenarios=(), runtimes=()), home)
    image = msgspec.structs.replace(image, kernel=kernel or image.kernel)
    with marks.claimed(marks.new_id()) as mark, ExitStack() as stack:
        scratch = home / "scratch" / mark
        scratch.mkdir(parents=True)
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        runtime = cast(Restorer, registry.runtime(name, Workspace(store=home, scratch=scratch, mark=mark)))
        stack.callback(runtime.close)
        names = (f"{mark}-{number}" for number in itertools.count())
        bench = Bench(runtime, runtime.prepare(image), scratch, names, request.boxes_cpu())
        with runtime.start(bench.spec()) as box:
            box.wait_ready(READY_TIMEOUT_S)
        yield bench


@cache
def against_tuned(name: str) -> tuple[Boot, ...]:
    """Our boots of a profile by turns with the best line by hand for its machine."""
    with opened(name) as bench:
        return tuple(bench.boot(lambda append: _tuned_s(bench, _MACHINES[name], append)) for _ in range(PAIRS))


def _tuned_s(bench: Bench, machine: Machine, append: str) -> float:
    return bare_qemu.ready_s(bare_qemu.tuned(machine, bench.prepared, append), bench.prepared, bench.scratch, bench.cpu)


def _ready(name: str) -> Row:
    ratios = tuple(boot.ready_s / boot.bare_s for boot in against_tuned(name))
    return Row(f"{name} boot.ready ÷ best bare line", "", ratios, at_most=1.15)


def _after_create(name: str) -> Row:
    ratios = tuple((boot.ready_s - boot.create_s) / boot.bare_s for boot in against_tuned(name))
    return Row(f"{name} spawn → ready ÷ best bare line", "", ratios, at_most=1.05)


def direct_against_bare() -> Row:
    return _ready("tcg")


def direct_without_control_plane() -> Row:
    return _after_create("tcg")


def micro_against_bare() -> Row:
    return _ready("tcg-micro")


def micro_without_control_plane() -> Row:
    return _after_create("tcg-micro")


def micro_against_usual() -> Row:
    """By turns with the distribution's way."""
    home = paths.home()
    with opened("tcg-micro") as bench:
        kernel = bench.prepared.image.kernel or kernels.provide(home)
        line = bare_qemu.usual(Path(kernel.path), bare_qemu.initramfs(home, kernel.version))
        boots = [
            bench.boot(lambda _: bare_qemu.ready_s(line, bench.prepared, bench.scratch, bench.cpu))
            for _ in range(USUAL_PAIRS)
        ]
    ratios = tuple(boot.ready_s / boot.bare_s for boot in boots)
    return Row("tcg-micro boot.ready ÷ virt-install's defaults", "", ratios, at_most=0.6)


def direct_against_virtme() -> Row:
    """By turns, with a kernel that both can boot. Theirs is the time to the first act of a program inside."""
    kernel = kernels.provide(paths.home(), virtme.KERNEL_PACKAGE)
    program = virtme.installed(paths.home())
    with opened("tcg", kernel) as bench, tempfile.TemporaryDirectory() as folder:

        def theirs(_: str) -> float:
            return virtme.ready_s(program, Path(kernel.path), Path(folder), bench.cpu)

        theirs("")  # warms their caches, as ours are
        boots = [bench.boot(theirs) for _ in range(VIRTME_PAIRS)]
    ratios = tuple(boot.ready_s / boot.bare_s for boot in boots)
    return Row("tcg boot.ready ÷ virtme-ng, the same kernel", "", ratios)


def restore_against_boot() -> Row:
    """One saved state, brought back by turns with a cold boot."""
    ratios = []
    with opened("tcg-micro") as bench, tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        with bench.runtime.start(bench.spec()) as box:
            box.wait_ready(READY_TIMEOUT_S)
            cast(Checkpointable, box).checkpoint(Path(folder))
        for _ in range(RESTORES):
            cold = bench.boot(lambda _: 0.0)
            began_s = time.monotonic()
            with bench.runtime.restore(bench.spec(), Path(folder)) as box:
                box.wait_ready(READY_TIMEOUT_S)
                ratios.append((time.monotonic() - began_s) / cold.ready_s)
    return Row("tcg-micro restored ÷ cold boot", "", tuple(ratios), at_most=0.2)


def create() -> Row:
    values = tuple(boot.create_s for name in _MACHINES for boot in against_tuned(name))
    return Row("create (control plane) after first use", "s", values, at_most=0.2)


def teardown() -> Row:
    values = tuple(boot.gone_s for name in _MACHINES for boot in against_tuned(name))
    return Row("teardown", "s", values, at_most=0.25)


def many_boots() -> Row:
    """Each alone; one that does not become ready counts and does not stop the others."""
    ready = 0
    with opened("tcg-micro") as bench:
        for _ in range(MANY):
            with bench.runtime.start(bench.spec()) as box:
                ready += _becomes_ready(box)
    return Row(f"tcg-micro boots that become ready, of {MANY}", "", (float(ready),), at_least=float(MANY))


def many_at_once() -> Row:
    with opened("tcg-micro") as bench, ExitStack() as stack:
        boxes = [stack.enter_context(bench.runtime.start(bench.spec())) for _ in range(AT_ONCE)]
        ready = sum(_becomes_ready(box) for box in boxes)
    return Row(f"ready, of {AT_ONCE} started at once", "", (float(ready),), at_least=float(AT_ONCE))


def many_in_a_row() -> Row:
    """Descriptors, threads and files of this process and its folder, from the third box to the last."""
    with opened("tcg-micro") as bench:
        counts = []
        for _ in range(IN_A_ROW):
            with bench.runtime.start(bench.spec()) as box:
                box.wait_ready(READY_TIMEOUT_S)
            descriptors = len(list(Path("/proc/self/fd").iterdir()))
            counts.append(descriptors + threading.active_count() + len(list(bench.scratch.iterdir())))
    return Row(f"growth over {IN_A_ROW} in a row", "", (float(counts[-1] - counts[2]),), at_most=0.0)


def _becomes_ready(box: Instance) -> bool:
    try:
        box.wait_ready(READY_TIMEOUT_S)
    except TrialFailed:
        return False
    return True


ROWS = (
    direct_against_bare,
    direct_without_control_plane,
    micro_against_bare,
    micro_without_control_plane,
    micro_against_usual,
    direct_against_virtme,
    restore_against_boot,
    create,
    teardown,
    many_boots,
    many_at_once,
    many_in_a_row,
)

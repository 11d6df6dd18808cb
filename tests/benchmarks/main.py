"""The main job: how long the first suite takes, what the harness adds to it, and how light it is itself.

A row is a function that returns a `Row`; add it to `ROWS`. Rows that look at the same run share it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from harness import store
from harness.errors import TareError
from harness.model import Outcome, Results
from tests.benchmarks import vm
from tests.benchmarks.frame import Row, interleaved

TARE = str(Path(sys.executable).with_name("tare"))
PAIRS = 15
BOOT_BLOCKS = 30
WATCH_S = 0.05


@dataclass(frozen=True, slots=True)
class Observed:
    """One `tare run` seen from outside."""

    wall_s: float
    peak_bytes: int
    results: Results


def observe(arguments: Sequence[str]) -> Observed:
    """Runs the command line, watching its own peak memory; that of its children does not count."""
    began_s = time.monotonic()
    peak_bytes = 0
    with TemporaryFile("w+") as said:
        process = subprocess.Popen([TARE, "run", *arguments], stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            peak_bytes = max(peak_bytes, _high_water_bytes(process.pid))
            time.sleep(WATCH_S)
        wall_s = time.monotonic() - began_s
        said.seek(0)
        lines = said.read().splitlines()
    folders = [line.removeprefix("results:").strip() for line in lines if line.startswith("results:")]
    if process.returncode != 0 or not folders:
        raise TareError(f"tare run {' '.join(arguments)} ended with {process.returncode}: {' / '.join(lines[-2:])}")
    return Observed(wall_s, peak_bytes, store.read(Path(folders[0])))


def _high_water_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


@cache
def quick() -> Observed:
    """The suite as a person runs it, after one short run that leaves kernel, images and verdicts in the store."""
    observe(["quick", "--blocks", "1", "--scenario", "boot"])
    report = Path("build/bench/quick.html").absolute()
    report.parent.mkdir(parents=True, exist_ok=True)
    return observe(["quick", "--report", str(report)])


@cache
def boots() -> Results:
    """Enough starts of every runtime for a median."""
    return observe(["quick", "--scenario", "boot", "--blocks", str(BOOT_BLOCKS)]).results


def samples(results: Results, runtimes: Sequence[str], metric: str) -> tuple[float, ...]:
    """Values of the measured blocks; TareError when none of these runtimes supplied any."""
    values = tuple(
        sample.value
        for trial in results.trials
        if trial.outcome is Outcome.OK and not trial.step.warmup and not trial.step.cell.twin
        if trial.step.cell.runtime in runtimes
        for sample in trial.samples
        if sample.metric == metric
    )
    if not values:
        raise TareError(f"no {metric} of {' or '.join(runtimes)} was measured here")
    return values


def quick_suite() -> Row:
    return Row("suite quick, after set-up", "s", (quick().wall_s,), at_most=90)


def harness_overhead() -> Row:
    """What is neither a trial nor the wait for a quiet host: imports, probing, preparing, the report."""
    run = quick()
    inside_s = sum(trial.elapsed_s + trial.settle_s for trial in run.results.trials)
    return Row("harness overhead ÷ wall", "", ((run.wall_s - inside_s) / run.wall_s,), at_most=0.05)


def container_boot() -> Row:
    return Row("container boot.ready", "s", samples(boots(), ["container"], "boot.ready"), at_most=0.006)


def vm_teardown() -> Row:
    return Row("VM boot.gone (teardown)", "s", samples(boots(), ["kvm", "tcg"], "boot.gone"), at_most=0.3)


def help_against_typer() -> Row:
    """By turns; the ratio of each pair is one value."""
    pairs = interleaved(
        lambda: subprocess.run([TARE, "--help"], stdout=subprocess.DEVNULL, check=True),
        lambda: subprocess.run([sys.executable, "-c", "import typer"], check=True),
        PAIRS,
    )
    return Row("tare --help ÷ import typer", "", tuple(ours_s / theirs_s for ours_s, theirs_s in pairs), at_most=1.5)


def peak_memory() -> Row:
    return Row("peak memory of the measuring process", "MiB", (quick().peak_bytes / 2**20,), at_most=120)


ROWS = (
    quick_suite,
    harness_overhead,
    container_boot,
    vm.direct_against_bare,
    vm_teardown,
    help_against_typer,
    peak_memory,
)

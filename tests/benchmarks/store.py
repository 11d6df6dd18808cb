"""How results of a million trials are written, read and summed up. Rows that read do so in a process of their own."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from harness import store
from harness.model import Cell, Outcome, Sample, Step, Trial
from tests.benchmarks.frame import Row
from tests.reports.planted import Planting, plant

TRIALS = 1_000_000
BATCH = 1000
BOXES = ("native", "a", "b", "c")
_EVIDENCE = {
    "steal": 0.0, "running": 2.0, "pressure": 0.012345678, "pressure_io": 0.0, "pressure_memory": 0.0,
    "oom_kills": 0.0, "load": 1.2345678, "kernel_warnings": 0.0, "canary_s": 0.0456789,
}  # fmt: skip
_READER = """
import json, resource, sys, time
from pathlib import Path
from harness import store
from reports import tidy
from reports.summary import summarise
began_s = time.monotonic()
found = summarise(tidy.read([store.read(Path(sys.argv[1]))]))
took_s = time.monotonic() - began_s
assert sum(one.n for one in found) == int(sys.argv[2])
print(json.dumps([took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""


@cache
def _written() -> tuple[Path, float]:
    """The folder of a million trials, and the seconds each append took."""
    home = Path(tempfile.mkdtemp(prefix="tare-bench-store-"))
    atexit.register(shutil.rmtree, home)
    folder = store.RunFolder.create(home, "million")
    folder.write_run(plant(Planting(ratios=dict.fromkeys(BOXES[1:], 1.0), blocks=1)).run)
    took_s = 0.0
    for first in range(0, TRIALS, BATCH):
        trials = [_trial(number) for number in range(first, first + BATCH)]
        began_s = time.monotonic()
        for trial in trials:
            folder.append(trial)
        took_s += time.monotonic() - began_s
    folder.close()
    return folder.path, took_s / TRIALS


def _trial(number: int) -> Trial:
    """No two have a time or a value in common: words that repeat are read for less."""
    block, position = divmod(number, len(BOXES))
    return Trial(
        step=Step(cell=Cell(scenario="made", runtime=BOXES[position]), block=block, position=position),
        outcome=Outcome.OK,
        started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_767_322_800 + number)),
        elapsed_s=1.234567 + number / 3e6,
        settle_s=0.0151,
        samples=(Sample("made.up", 1 + number / 7e6),),
        noise=_EVIDENCE,
    )


@cache
def _read() -> tuple[float, float]:
    """Seconds and GiB it takes to load and sum up."""
    done = subprocess.run(
        [sys.executable, "-c", _READER, str(_written()[0]), str(TRIALS)], capture_output=True, text=True, check=True
    )
    seconds, gib = json.loads(done.stdout)
    return float(seconds), float(gib)


def append() -> Row:
    """Handed to the kernel per trial, to the disk when the run ends."""
    return Row("append of one trial", "ms", (_written()[1] * 1000,), at_most=0.2)


def load_and_summary() -> Row:
    return Row("load and summary of a million trials", "s", (_read()[0],), at_most=8)


def peak_memory() -> Row:
    return Row("peak memory of that", "GiB", (_read()[1],), at_most=1.5)


ROWS = (append, load_and_summary, peak_memory)

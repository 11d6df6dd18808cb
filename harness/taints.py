"""Independent evidence that a trial was disturbed, and the taints that follow from it. No value measured plays a part.

    steal              the hypervisor below us took more than 5 % of the time
    throttled          a CPU was slowed down by its temperature, or we by a quota on ourselves
    memory pressure    everything waited for memory for more than 5 % of the time
    out of memory      the kernel ended a process for want of memory
    kernel log         the kernel wrote a warning or worse
    busy host          the host had not become quiet when the trial began

Pressure on CPU and disk, load and frequency are recorded and taint nothing: the box under measurement makes its own.
What this host does not tell is left out, never taken for zero.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

from harness import cgroups, host

STEAL_TAINT = 0.05
MEMORY_PRESSURE_TAINT = 0.05

_KERNEL_LOG = Path("/dev/kmsg")
_WORST_HARMLESS_LEVEL = 5
"""`notice`; warnings are 4, errors 3."""
_RECORD_BYTES = 8192


class Witness(Protocol):
    """Who watches a trial from the side."""

    def begin(self) -> None: ...

    def evidence(self) -> dict[str, float]:
        """What happened since `begin`."""


class HostWitness:
    """Reads this host's own counters around a trial; `cpus` are those the boxes run on."""

    def __init__(self, cpus: tuple[int, ...] = ()) -> None:
        self._cpu = cpus[0] if cpus else 0
        self._log = KernelLog()
        self._before: dict[str, float] = {}
        self._began_s = 0.0

    def begin(self) -> None:
        self._log.new_warnings()
        self._before, self._began_s = _counters(), time.monotonic()

    def evidence(self) -> dict[str, float]:
        after, elapsed_s = _counters(), max(time.monotonic() - self._began_s, 1e-6)
        grown = {name: value - self._before[name] for name, value in after.items() if name in self._before}
        ticks = max(1.0, grown.pop("ticks"))
        found = {"steal": grown.pop("steal_ticks") / ticks, "running": float(host.running_tasks())}
        for name, growth in grown.items():
            found[name] = growth / 1e6 / elapsed_s if name.startswith("pressure") else growth
        found["load"] = os.getloadavg()[0]
        warnings = self._log.new_warnings()
        if warnings is not None:
            found["kernel_warnings"] = float(warnings)
        with contextlib.suppress(OSError, ValueError):
            path = f"/sys/devices/system/cpu/cpu{self._cpu}/cpufreq/scaling_cur_freq"
            found["frequency_hz"] = float(Path(path).read_text()) * 1000
        return found


class KernelLog:
    """The kernel's log from now on; None where we may not read it."""

    def __init__(self, path: Path = _KERNEL_LOG) -> None:
        self._fd: int | None = None
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)

    def new_warnings(self) -> int | None:
        """Lines of level warning or worse since the last time."""
        return None if self._fd is None else sum(map(is_warning, self._records(self._fd)))

    def _records(self, fd: int) -> Iterator[str]:
        while True:
            try:
                record = os.read(fd, _RECORD_BYTES)
            except BrokenPipeError:  # the ring overtook us: what is left of it comes next
                continue
            except OSError:  # nothing new
                return
            if not record:
                return
            yield record.decode(errors="replace")

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


def is_warning(record: str) -> bool:
    """Whether a record of /dev/kmsg is the kernel's own and of level warning or worse."""
    priority = record.partition(",")[0]
    return priority.isdigit() and int(priority) >> 3 == 0 and int(priority) & 7 < _WORST_HARMLESS_LEVEL


def of(evidence: Mapping[str, float], *, settled: bool) -> tuple[str, ...]:
    """The taints a trial bears, from the evidence alone."""
    found = {
        "steal": evidence.get("steal", 0.0) > STEAL_TAINT,
        "throttled": evidence.get("heat_throttled", 0.0) > 0 or evidence.get("quota_throttled", 0.0) > 0,
        "memory pressure": evidence.get("pressure_memory", 0.0) > MEMORY_PRESSURE_TAINT,
        "out of memory": evidence.get("oom_kills", 0.0) > 0,
        "kernel log": evidence.get("kernel_warnings", 0.0) > 0,
        "busy host": not settled,
    }
    return tuple(name for name, true in found.items() if true)


def _counters() -> dict[str, float]:
    """Everything that only grows, by name."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    found: dict[str, float] = {"steal_ticks": ticks[7], "ticks": sum(ticks)}
    for name, path, row, word in (
        ("pressure", "/proc/pressure/cpu", "some", "total="),
        ("pressure_io", "/proc/pressure/io", "full", "total="),
        ("pressure_memory", "/proc/pressure/memory", "full", "total="),
        ("oom_kills", "/proc/vmstat", "oom_kill", " "),
    ):
        with contextlib.suppress(OSError, StopIteration, ValueError):
            lines = Path(path).read_text().splitlines()
            found[name] = float(next(line for line in lines if line.split()[0] == row).rpartition(word)[2])
    for name, files, word in (
        ("heat_throttled", _throttle_files(), ""),
        ("quota_throttled", _own_quota_files(), "nr_throttled"),
    ):
        if files:
            found[name] = float(sum(_number(file, word) for file in files))
    return found


@cache
def _throttle_files() -> tuple[Path, ...]:
    return tuple(sorted(Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count")))


@cache
def _own_quota_files() -> tuple[Path, ...]:
    """Statistics of our own cgroup: on v1 boxes live below it, so a quota on it would slow them too."""
    parents = cgroups.hierarchies().parents
    candidates = (parents[name] / "cpu.stat" for name in ("cpu", cgroups.UNIFIED) if name in parents)
    return tuple(path for path in candidates if path.exists() and "nr_throttled" in path.read_text())[:1]


def _number(file: Path, word: str) -> int:
    """The number a file holds, or the one after a word."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        text = file.read_text()
        return int(next(line.split()[-1] for line in text.splitlines() if line.startswith(word)))
    return 0

"""What this machine is, and what makes it noisy: facts for the record, doubts for people.

Reads files only and changes nothing. A fact that cannot be read is left out, never guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cgroups

_FILES = {
    "clocksource": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "no_turbo": "/sys/devices/system/cpu/intel_pstate/no_turbo",
    "boost": "/sys/devices/system/cpu/cpufreq/boost",
    "smt": "/sys/devices/system/cpu/smt/active",
    "isolated_cpus": "/sys/devices/system/cpu/isolated",
    "aslr": "/proc/sys/kernel/randomize_va_space",
    "thp": "/sys/kernel/mm/transparent_hugepage/enabled",
    "ksm": "/sys/kernel/mm/ksm/run",
    "rcu_expedited": "/sys/kernel/rcu_expedited",
    "boot_id": "/proc/sys/kernel/random/boot_id",
}


def describe() -> dict[str, Any]:
    """The facts that decide whether two runs may be compared, and those that explain a strange number."""
    cpuinfo = _cpuinfo()
    tree = cgroups.hierarchies()
    facts: dict[str, Any] = {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "distribution": _distribution(),
        "cpu_model": cpuinfo.get("model name", "unknown"),
        "cpus": os.cpu_count(),
        "memory_bytes": _meminfo("MemTotal"),
        "swap_bytes": _meminfo("SwapTotal"),
        "virtualised": "hypervisor" in cpuinfo.get("flags", "").split(),
        "cgroup_mode": tree.mode,
        "cgroup_controllers": sorted(set(tree.parents) - {cgroups.UNIFIED} | tree.v2_controllers),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    with contextlib.suppress(OSError):
        # Tells hosts of one model apart and says nothing about whose they are.
        facts["host_id"] = hashlib.sha256(b"tare " + Path("/etc/machine-id").read_bytes()).hexdigest()[:12]
    for name, path in _FILES.items():
        with contextlib.suppress(OSError):
            facts[name] = _selected(Path(path).read_text().strip())
    return facts


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that makes numbers noisy here: what it is, what it does to them, and the command that mends it."""

    what: str
    effect: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.effect}" + (f" ({self.remedy})" if self.remedy else "")


def doubts(facts: dict[str, Any]) -> Iterator[Doubt]:
    """What a careful person would change, or at least know, before measuring on this host."""
    cpus = facts["cpus"] or 1
    if facts["load_1min"] > 0.5 * cpus:
        yield Doubt(
            f"load is {facts['load_1min']:.1f} on {cpus} CPUs",
            "every time and its spread grow",
            "find who runs: ps -eo pcpu,comm --sort=-pcpu | head",
        )
    if facts["virtualised"]:
        yield Doubt("this host is itself a virtual machine", "steal and nested traps are in every number", "")
    if facts.get("governor", "performance") != "performance":
        yield Doubt(
            f"CPU governor is {facts['governor']}",
            "clock speed follows the load, so short work looks slow",
            "cpupower frequency-set -g performance",
        )
    if facts.get("no_turbo") == "0" or facts.get("boost") == "1":
        yield Doubt("turbo is on", "speed depends on temperature and on the other cores", "switch it off in /sys")
    if facts.get("ksm", "0") != "0":
        yield Doubt(
            "KSM merges pages", "memory of virtual machines shrinks over time", "echo 0 > /sys/kernel/mm/ksm/run"
        )
    if facts.get("clocksource") not in ("tsc", "kvm-clock", None):
        yield Doubt(f"clock source is {facts['clocksource']}", "reading the clock is slow", "")
    free_bytes = shutil.disk_usage("/").free
    if free_bytes < 2 << 30:
        yield Doubt(f"only {free_bytes >> 20} MiB are free on /", "preparing images may fail", "free some space")


def running_tasks() -> int:
    """Tasks that run or want to, ourselves included."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("procs_running"):
            return int(line.split()[1])
    return 0


def _cpuinfo() -> dict[str, str]:
    first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _distribution() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    return "unknown"


def _selected(text: str) -> str:
    """`always [madvise] never` → `madvise`."""
    return text.partition("[")[2].partition("]")[0] if "[" in text else text

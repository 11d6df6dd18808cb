"""What a careful person would change, or at least know, before measuring here: each doubt with what it does to which
metric, and the command that mends it. Nothing is changed; `harness.tune` prints the commands as a script.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.tune import SETTINGS

BUSY_LOAD = 0.5
"""Per CPU."""
STEAL = 0.01
CGROUPS = Path("/sys/fs/cgroup")
LEAST_FREE_BYTES = 2 << 30
_GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that makes numbers noisy here: what it is, what it does, to which metrics, and what mends it."""

    what: str
    effect: str
    remedy: str
    touches: str = "all"

    def __str__(self) -> str:
        return f"{self.what}: {self.effect}" + (f" ({self.remedy})" if self.remedy else "")


def doubts(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    """From the facts alone. A fact that is not there raises no doubt."""
    for rule in (_load, _nesting, _settings, _throttling, _isolation, _power, _cgroups, _clock, _storage, _daemons):
        yield from rule(facts)


def _load(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    cpus = facts.get("cpus") or 1
    load = facts.get("load_1min", 0.0)
    if load > BUSY_LOAD * cpus:
        yield Doubt(
            f"load is {load:.1f} on {cpus} CPUs",
            "every time and its spread grow",
            "find who runs: ps -eo pcpu,comm --sort=-pcpu | head",
            "boot.*, cpu.*",
        )
    if facts.get("swap_bytes", 0) > 0:
        yield Doubt("swap is on", "memory that was swapped out is missing from every sum", "swapoff -a", "memory.*")


def _nesting(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    if facts.get("virtualised"):
        yield Doubt(
            "this host is itself a virtual machine",
            "steal and nested traps are in every number",
            "nothing on this side of it: measure on bare metal, or compare only what was measured here",
        )
    if facts.get("steal_since_boot", 0.0) > STEAL:
        yield Doubt(
            f"the hypervisor below took {facts['steal_since_boot']:.1%} of the time since boot",
            "times grow by what it takes, when it takes it",
            "measure at another hour, or on a host of your own",
            "boot.*, cpu.*",
        )


def _settings(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    """Everything that one file in /sys or /proc decides."""
    for setting in SETTINGS:
        value = facts.get(setting.fact)
        if value is not None and value in setting.bad:
            yield Doubt(setting.what.format(value), setting.effect, setting.command, setting.touches)


def _throttling(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    if facts.get("heat_throttled", 0) > 0:
        yield Doubt(
            f"CPUs were slowed down by heat {facts['heat_throttled']} times since boot",
            "later trials run slower than earlier ones",
            "cool it, or set a lower fixed frequency: cpupower frequency-set -u FREQUENCY",
            "boot.*, cpu.*",
        )


def _isolation(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    if facts.get("isolated_cpus") == "":
        yield Doubt(
            "no CPU is isolated",
            "whatever else runs may run where boxes are measured",
            "boot with isolcpus=LAST nohz_full=LAST, where LAST is the highest CPU",
            "boot.*, cpu.*",
        )


def _power(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    if facts.get("on_mains") is False:
        yield Doubt("this host runs on its battery", "clock speed is held down", "plug it in", "boot.*, cpu.*")


def _cgroups(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    missing = [name for name in ("memory", "cpu", "cpuset", "pids") if name not in facts.get("cgroup_controllers", ())]
    if missing:
        yield Doubt(
            f"cgroup controllers are missing: {', '.join(missing)} (mode {facts.get('cgroup_mode')})",
            "boxes cannot be limited or counted by them",
            _enabling(missing, facts),
            "memory.cgroup, cpu.*.host",
        )


def _enabling(missing: Sequence[str], facts: Mapping[str, Any]) -> str:
    """On v2 every folder down to where boxes go must hand a controller on; systemd often keeps cpuset to itself."""
    parent = facts.get("cgroup_parent")
    if parent is None:
        return (
            "boot with systemd.unified_cgroup_hierarchy=1, or have them delegated: systemd-run --scope -p Delegate=yes"
        )
    chain = [str(path) for path in (Path(parent), *Path(parent).parents) if path.is_relative_to(CGROUPS)]
    words = " ".join(f"+{name}" for name in missing)
    return f"for d in {' '.join(reversed(chain))}; do echo {words} > $d/cgroup.subtree_control; done"


def _clock(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    clock = facts.get("clocksource")
    if clock is not None and clock not in _GOOD_CLOCKS:
        yield Doubt(
            f"clock source is {clock}",
            "reading the clock takes a microsecond instead of a few nanoseconds",
            "boot with clocksource=tsc tsc=reliable, if this CPU's counters can be trusted",
            "boot.*",
        )


def _storage(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    free_bytes = facts.get("storage_free_bytes")
    if free_bytes is not None and free_bytes < LEAST_FREE_BYTES:
        yield Doubt(
            f"only {free_bytes >> 20} MiB are free where Tare keeps its images",
            "preparing them may fail, and a full disk is a slow one",
            "free some space, or point TARE_HOME elsewhere",
            "disk.*",
        )
    if facts.get("storage_rotates") and not facts.get("virtualised"):  # a virtual disk says so whatever is below it
        yield Doubt("that storage rotates", "a cold start waits for the disk's arm", "use an SSD", "boot.* when cold")


def _daemons(facts: Mapping[str, Any]) -> Iterator[Doubt]:
    for name in facts.get("daemons", ()):
        yield Doubt(
            f"{name} is running",
            "it wakes up, watches cgroups and networks, and holds memory of its own",
            f"systemctl stop {name}, unless it is what you measure",
            "boot.*, memory.*",
        )

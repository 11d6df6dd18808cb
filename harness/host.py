"""What this machine is: facts for the record. What they mean for a measurement is in `harness.doubts`.

Reads files only and changes nothing. A fact that cannot be read is left out, never guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from harness import cgroups, paths, tune

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
    "swappiness": "/proc/sys/vm/swappiness",
    "vfs_cache_pressure": "/proc/sys/vm/vfs_cache_pressure",
    "dirty_ratio": "/proc/sys/vm/dirty_ratio",
    "nested": "/sys/module/kvm_intel/parameters/nested",
    "nested_amd": "/sys/module/kvm_amd/parameters/nested",
}
_DAEMONS = ("dockerd", "containerd", "crio", "kubelet", "libvirtd", "lxcfs", "snapd", "packagekitd", "unattended-upgr")
"""They do things of their own while one measures."""


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
    if tree.mode == "v2":
        facts["cgroup_parent"] = str(tree.parents[cgroups.UNIFIED])
    with contextlib.suppress(OSError):
        # Tells hosts of one model apart and says nothing about whose they are.
        facts["host_id"] = hashlib.sha256(b"tare " + Path("/etc/machine-id").read_bytes()).hexdigest()[:12]
    facts |= _storage() | _power() | {"daemons": _daemons(), "steal_since_boot": _steal_since_boot()}
    throttle = list(Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count"))
    if throttle:
        facts["heat_throttled"] = sum(int(path.read_text()) for path in throttle)
    for name, path in _FILES.items():
        with contextlib.suppress(OSError):
            facts[name] = tune.chosen(Path(path).read_text().strip())
    return facts


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


def _storage() -> dict[str, Any]:
    """Where images and boxes lie: the file system, its free space, whether it rotates."""
    home = next(path for path in (paths.home(), *paths.home().parents) if path.exists())
    facts: dict[str, Any] = {"storage_free_bytes": shutil.disk_usage(home).free}
    device = home.stat().st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == f"{os.major(device)}:{os.minor(device)}":
            facts["storage_type"] = line.partition(" - ")[2].split()[0]
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for folder in (block, block.resolve().parent):  # of a partition, the disk knows
        with contextlib.suppress(OSError):
            facts.setdefault("storage_rotates", (folder / "queue/rotational").read_text().strip() == "1")
    return facts


def _power() -> dict[str, Any]:
    """Whether the mains feed this host; nothing where there is no battery."""
    supplies = Path("/sys/class/power_supply").glob("*/online")
    states = [path.read_text().strip() == "1" for path in supplies if (path.parent / "type").read_text() == "Mains\n"]
    return {"on_mains": any(states)} if states else {}


def _daemons() -> list[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().strip())
    return sorted(found & set(_DAEMONS))


def _steal_since_boot() -> float:
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7] / max(1, sum(ticks))


def _distribution() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    return "unknown"

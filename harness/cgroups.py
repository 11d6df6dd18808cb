"""A cgroup of ours on v1, v2 and hybrid hosts: create with limits, read, kill, remove.

Every runtime charges its boxes to one and every gauge reads one. Facts this module rests on:
  * A hybrid host has a v2 tree without controllers beside v1. A cgroup there still counts CPU time and can be killed.
  * Boxes go *below our own cgroup* in each v1 hierarchy, else a limit on us would be escaped; on v2 above it (below).
  * A v1 cpuset accepts nobody until `cpus` and `mems` are written.
  * Writing a pid into `cgroup.procs` waits for a grace period of the kernel (7–15 ms when idle); a task that writes
    "0" into the v1 file `tasks` does not. Drivers on a timed path use the latter, or CLONE_INTO_CGROUP.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness import cgroupfiles
from harness.errors import Unsupported

UNIFIED = "unified"
"""Key of the v2 hierarchy beside the names of v1 controllers."""

ACCOUNTED = ("memory", "cpu", "cpuacct", "cpuset", "pids")
QUOTA_PERIOD_US = 100_000
KILL_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a box may use; None means no limit. `cpus` is a quota: 0.5 is half a CPU."""

    cpuset: tuple[int, ...] = ()
    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The host's cgroup trees: where boxes go in each. `mode` is v1, v2 or hybrid."""

    mode: str
    parents: Mapping[str, Path]
    v2_controllers: frozenset[str]

    @property
    def missing(self) -> tuple[str, ...]:
        """Controllers a limited box needs and this host does not offer us."""
        there = self.parents.keys() | self.v2_controllers
        return tuple(name for name in ("memory", "cpu", "cpuset", "pids") if name not in there)

    @property
    def permitted(self) -> bool:
        """Whether this process may make cgroups: root may, and on v2 whom a part of the tree was handed to."""
        return all(map(_ours, self.parents.values()))


@cache
def hierarchies() -> Hierarchies:
    """The trees of this host, from our own membership and mount table."""
    mode, parents = locate(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    return Hierarchies(mode, parents, _handed_down(parents[UNIFIED]) if UNIFIED in parents else frozenset())


def locate(membership: str, mountinfo: str) -> tuple[str, dict[str, Path]]:
    """The mode and the folder for boxes per hierarchy, from the text of /proc/self/cgroup and /proc/self/mountinfo."""
    own = dict(_memberships(membership))
    parents: dict[str, Path] = {}
    for kind, mount, root, options in _mounts(mountinfo):
        if kind == "cgroup2":
            parents[UNIFIED] = _v2_parent(mount, _below(root, own.get("", "/")))
            continue
        for name in options:
            if name in own and name not in parents:  # v1 controllers may be mounted together, in any order
                parents[name] = mount / _below(root, own[name])
    names = set(parents)
    return "v2" if names == {UNIFIED} else "hybrid" if UNIFIED in names else "v1", parents


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, path


def _mounts(text: str) -> Iterator[tuple[str, Path, str, list[str]]]:
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = left.split()
            yield kind, Path(fields[4]), fields[3], options.split(",")


def _below(mount_root: str, path: str) -> str:
    """Our path inside a mount that may itself show only a subtree (a container's view)."""
    if mount_root != "/" and path.startswith(mount_root):
        path = path[len(mount_root) :]
    return path.lstrip("/")


def _v2_parent(mount: Path, own: str) -> Path:
    """Above our own cgroup, which holds processes and so cannot hand controllers down: the nearest that hands most.

    Of those that we may write to, where there are any: who is not root may have been handed some of them.
    """
    above = [path for path in (mount / own).parents if path == mount or mount in path.parents] if own else []
    return max(above, key=lambda path: (_ours(path), len(_handed_down(path))), default=mount)


def _ours(path: Path) -> bool:
    """Whether we may make a folder there and move a process below."""
    return os.access(path, os.W_OK) and os.access(path / "cgroup.procs", os.W_OK)


def _handed_down(path: Path) -> frozenset[str]:
    with contextlib.suppress(OSError):
        return frozenset((path / "cgroup.subtree_control").read_text().split())
    return frozenset()


class Cgroup:
    """One box's cgroup, in every hierarchy it has. `paths` maps a v1 controller, or `unified`, to its folder."""

    def __init__(self, name: str, paths: Mapping[str, Path], controllers: Iterable[str] = ACCOUNTED) -> None:
        self.name = name
        self.paths = paths
        self._controllers = frozenset(controllers)  # a v2 folder may show more than its members were charged for

    def __repr__(self) -> str:
        return f"Cgroup({self.name!r}, {sorted(self.paths)})"

    @classmethod
    def create(cls, name: str, limits: Limits | None, controllers: Iterable[str] = ACCOUNTED) -> Cgroup:
        """Makes the folders and sets the limits. Unsupported when a limit has no controller to enforce it.

        Without limits makes the v2 folder alone, which is all that a clone needs; `complete` makes the rest meanwhile.
        """
        host = hierarchies()
        wanted = [key for key in (UNIFIED, *controllers) if key in host.parents]
        if UNIFIED not in host.parents and "freezer" in host.parents:
            wanted.append("freezer")  # on pure v1 the freezer is the only way to kill without a race
        group = cls(name, {key: host.parents[key] / name for key in wanted}, controllers)
        if UNIFIED in group.paths:
            group.paths[UNIFIED].mkdir()
        if limits is not None:
            group.complete(limits)
        return group

    def complete(self, limits: Limits) -> None:
        try:
            for path in set(self.paths.values()) - {self.paths.get(UNIFIED)}:
                path.mkdir()
            self._initialise_cpuset()
            self.limit(limits)
        except BaseException:
            self.remove()
            raise

    def _file(self, controller: str, v1: str, v2: str) -> Path | None:
        if controller in self.paths:
            return self.paths[controller] / v1
        unified = self.paths.get(UNIFIED)
        if unified is not None and controller in self._controllers and (unified / v2).exists():
            return unified / v2
        return None

    def _required(self, controller: str, v1: str, v2: str) -> Path:
        path = self._file(controller, v1, v2)
        if path is None:
            raise Unsupported(
                f"no {controller} cgroup controller here, so its limit cannot be enforced",
                hint=f"enable it: boot with it on, or write +{controller} to the parent's cgroup.subtree_control",
            )
        return path

    def _initialise_cpuset(self) -> None:
        if "cpuset" in self.paths:
            for name in ("cpuset.mems", "cpuset.cpus"):
                cgroupfiles.write(self.paths["cpuset"] / name, (self.paths["cpuset"].parent / name).read_text())

    def limit(self, limits: Limits) -> None:
        """Sets every limit that is given; the others stay as they are."""
        if limits.cpuset:
            cpus = ",".join(map(str, limits.cpuset))
            cgroupfiles.write(self._required("cpuset", "cpuset.cpus", "cpuset.cpus"), cpus)
        if limits.cpus is not None:
            self._limit_cpu(limits.cpus)
        if limits.memory_bytes is not None:
            self._limit_memory(limits.memory_bytes)
        if limits.pids is not None:
            cgroupfiles.write(self._required("pids", "pids.max", "pids.max"), str(limits.pids))

    def _limit_cpu(self, cpus: float) -> None:
        quota_us = max(1000, round(cpus * QUOTA_PERIOD_US))
        path = self._required("cpu", "cpu.cfs_quota_us", "cpu.max")
        if path.name == "cpu.max":
            cgroupfiles.write(path, f"{quota_us} {QUOTA_PERIOD_US}")
        else:
            cgroupfiles.write(path.parent / "cpu.cfs_period_us", str(QUOTA_PERIOD_US))
            cgroupfiles.write(path, str(quota_us))

    def _limit_memory(self, memory_bytes: int) -> None:
        """Memory and swap together: a box never escapes its limit into swap. Lowering needs memory before memsw."""
        path = self._required("memory", "memory.limit_in_bytes", "memory.max")
        cgroupfiles.write(path, str(memory_bytes))
        if not cgroupfiles.write_if_there(path.parent / "memory.memsw.limit_in_bytes", str(memory_bytes)):
            cgroupfiles.write_if_there(path.parent / "memory.swap.max", "0")

    def join(self, pid: int) -> None:
        """Moves a process in, all its threads with it. Slow on an idle host (see above): never on a timed path."""
        for path in set(self.paths.values()):
            (path / "cgroup.procs").write_text(str(pid))

    def pids(self) -> frozenset[int]:
        """Members, by the host's numbering."""
        for path in self.paths.values():
            with contextlib.suppress(FileNotFoundError):
                return frozenset(map(int, (path / "cgroup.procs").read_text().split()))
        return frozenset()

    def memory_bytes(self) -> int | None:
        """Charged memory less inactive file cache (what could be dropped at once); None without a controller."""
        current = self._file("memory", "memory.usage_in_bytes", "memory.current")
        if current is None:
            return None
        stat = cgroupfiles.flat(current.parent / "memory.stat")
        inactive = stat.get("total_inactive_file", stat.get("inactive_file", 0))
        return max(0, int(current.read_text()) - inactive)

    def cpu_s(self) -> float | None:
        """CPU seconds used by all members, past ones included, to the kernel's own precision."""
        if "cpuacct" in self.paths:
            return int((self.paths["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        if UNIFIED in self.paths:
            return cgroupfiles.flat(self.paths[UNIFIED] / "cpu.stat")["usage_usec"] / 1e6
        return None

    def oom_kills(self) -> int:
        """How many members the kernel killed for memory."""
        path = self._file("memory", "memory.oom_control", "memory.events")
        return cgroupfiles.flat(path).get("oom_kill", 0) if path else 0

    def throttled_s(self) -> float:
        """Time the CPU quota held members back."""
        path = self._file("cpu", "cpu.stat", "cpu.stat")
        stat = cgroupfiles.flat(path) if path else {}
        return stat.get("throttled_time", 0) / 1e9 + stat.get("throttled_usec", 0) / 1e6

    def kill(self) -> None:
        """SIGKILL to every member, at once where the kernel can (v2 `cgroup.kill`), else frozen and one by one."""
        unified = self.paths.get(UNIFIED)
        if unified is not None and (unified / "cgroup.kill").exists():
            with contextlib.suppress(FileNotFoundError):
                cgroupfiles.write(unified / "cgroup.kill", "1")
            return
        self._freeze("FROZEN")
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._freeze("THAWED")  # a frozen task does not die

    def _freeze(self, state: str) -> None:
        if "freezer" in self.paths:
            with contextlib.suppress(OSError):
                (self.paths["freezer"] / "freezer.state").write_text(state)

    def remove(self, deadline_s: float = KILL_DEADLINE_S) -> None:
        """Kills what is left and removes every folder; TimeoutError names what would not go."""
        give_up = time.monotonic() + deadline_s
        pause_s = 0.0005
        remaining = set(self.paths.values())
        while remaining := {path for path in remaining if not cgroupfiles.remove(path)}:
            if time.monotonic() > give_up:
                raise TimeoutError(f"cgroup {self.name} still has members: {sorted(self.pids())}")
            self.kill()
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.05)


def leftovers(prefix: str) -> dict[str, Cgroup]:
    """Cgroups of ours by name: what a killed run may have left."""
    found: dict[str, dict[str, Path]] = {}
    for key, parent in hierarchies().parents.items():
        for path in parent.glob(f"{prefix}*"):
            found.setdefault(path.name, {})[key] = path
    return {name: Cgroup(name, paths) for name, paths in found.items()}

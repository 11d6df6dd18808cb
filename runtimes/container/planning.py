"""A specification as the limits of a cgroup and the plan of a start: pure, decided before anything is made."""

from __future__ import annotations

from dataclasses import dataclass

from harness import agent
from harness.cgroups import ACCOUNTED, UNIFIED, Cgroup, Limits
from harness.errors import Unsupported
from harness.model import Spec
from runtimes.bridge.netlink import Link
from runtimes.bridge.network import KINDS
from runtimes.container.plan import Plan

DEFAULT_PIDS = 1024
"""A box that may fork without end takes the host along."""

_ROOM_TO_START_BYTES = 16 << 20
"""With less the kernel might run out of the box's memory before its program is executed; it takes 1 MiB at most."""

_HOSTNAME_CHARACTERS = 64
_OVERLAY_SYNTAX = ":,\\"


@dataclass(frozen=True, slots=True)
class Command:
    """The first program of a box, and what it finds there; see plan.Plan for each."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: tuple[int, ...] = ()
    terminal: bool = False
    mounts: tuple[tuple[str, str, bool], ...] = ()
    read_only: bool = False
    hostname: str = ""


def controllers(spec: Spec) -> tuple[str, ...]:
    """Those with something to count or to limit. A v1 cpuset takes a third of the time of all others together."""
    return tuple(name for name in ACCOUNTED if name != "cpuset" or spec.cpuset)


AGENT = Command(agent.ARGV, tuple(agent.environment().items()))


def limits(spec: Spec) -> Limits:
    """What the box may use, as the specification says and never without a bound on its processes."""
    pids = DEFAULT_PIDS if spec.pids is None else spec.pids
    return Limits(cpuset=spec.cpuset, cpus=spec.cpus, memory_bytes=spec.memory_bytes, pids=pids)


def plan(spec: Spec, cgroup: Cgroup, folder: str, link: Link | None = None, command: Command = AGENT) -> Plan:
    """All that the zygote and its child need to know. Unsupported for what this container cannot do."""
    if spec.network not in KINDS:
        hint = f"there are: {', '.join(KINDS)}"
        raise Unsupported(f"the container has no network of the kind {spec.network!r}", hint=hint)
    lower, upper, work = spec.prepared.image.root, f"{folder}/upper", f"{folder}/work"
    if any(sign in path for sign in _OVERLAY_SYNTAX for path in (lower, upper)):
        raise Unsupported(f"overlayfs cannot take the path {lower} or {upper}", hint="set TARE_HOME to a plainer path")
    return Plan(
        name=(command.hostname or spec.name)[:_HOSTNAME_CHARACTERS],
        argv=command.argv,
        environment=command.environment,
        lower=lower,
        upper=upper,
        work=work,
        folder=folder,
        unified=str(cgroup.paths.get(UNIFIED, "")),
        tasks=tuple(sorted({f"{path}/tasks" for key, path in cgroup.paths.items() if key != UNIFIED})),
        cpuset=spec.cpuset,
        read_only=command.read_only,
        network=spec.network,
        link=link,
        working_dir=command.working_dir,
        user=command.user,
        terminal=command.terminal,
        mounts=command.mounts,
        copied=spec.memory_bytes < _ROOM_TO_START_BYTES,
    )

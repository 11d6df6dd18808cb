"""What a specification becomes, on every kind of host: pure, no box is started."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness import agent
from harness.cgroups import Cgroup, Limits
from harness.errors import Unsupported
from harness.model import Image, Prepared, Spec
from runtimes.container.plan import MESSAGE_BYTES, Failure, Plan
from runtimes.container.planning import DEFAULT_PIDS, limits, plan

V1 = {name: Path("/cg", name, "box") for name in ("memory", "cpu", "cpuacct", "cpuset", "pids")}
V2 = {"unified": Path("/cg/unified/box")}
FOLDER = "/scratch/box"


def spec(root: str = "/store/tree", **changes: object) -> Spec:
    image = Image(name="tiny", digest="", content_digest="", content_bytes=0, layers=(), root=root)
    made = Spec(name="tare-x-1", prepared=Prepared(image=image, artifacts=()))
    return msgspec.structs.replace(made, **changes)


def test_a_box_always_has_a_bound_on_its_processes() -> None:
    assert limits(spec()) == Limits(memory_bytes=256 << 20, pids=DEFAULT_PIDS)
    given = spec(cpus=0.5, cpuset=(1,), memory_bytes=1 << 20, pids=7)
    assert limits(given) == Limits(cpuset=(1,), cpus=0.5, memory_bytes=1 << 20, pids=7)


def test_a_box_too_small_to_share_memory_safely_is_set_up_by_a_copy() -> None:
    cgroup = Cgroup("box", V1 | V2)
    assert plan(spec(memory_bytes=(16 << 20) - 1), cgroup, FOLDER).copied
    assert not plan(spec(memory_bytes=16 << 20), cgroup, FOLDER).copied


def test_on_a_hybrid_host_the_clone_joins_v2_and_the_child_v1() -> None:
    made = plan(spec(), Cgroup("box", V1 | V2), FOLDER)
    assert made.unified == "/cg/unified/box"
    assert made.tasks == tuple(f"/cg/{name}/box/tasks" for name in ("cpu", "cpuacct", "cpuset", "memory", "pids"))


def test_on_a_v2_host_the_clone_has_joined_all() -> None:
    made = plan(spec(), Cgroup("box", V2), FOLDER)
    assert (made.unified, made.tasks) == ("/cg/unified/box", ())


def test_on_a_v1_host_the_freezer_is_joined_since_it_is_what_kills() -> None:
    made = plan(spec(), Cgroup("box", V1 | {"freezer": Path("/cg/freezer/box")}), FOLDER)
    assert made.unified == ""
    assert "/cg/freezer/box/tasks" in made.tasks


def test_controllers_mounted_together_are_joined_once() -> None:
    together = Path("/cg/cpu,cpuset/box")
    made = plan(spec(), Cgroup("box", {"cpu": together, "cpuset": together, "pids": Path("/cg/pids/box")}), FOLDER)
    assert made.tasks == ("/cg/cpu,cpuset/box/tasks", "/cg/pids/box/tasks")


def test_a_plan_says_what_every_runtime_starts_and_survives_the_journey() -> None:
    made = plan(spec(), Cgroup("box", V1 | V2), FOLDER)
    assert made.argv == agent.ARGV
    assert dict(made.environment) == agent.environment()
    assert (made.lower, made.upper, made.work) == ("/store/tree", "/scratch/box/upper", "/scratch/box/work")
    assert Plan.decode(made.encode()) == made
    assert len(made.encode()) < MESSAGE_BYTES / 16


def test_a_failure_survives_the_journey() -> None:
    failure = Failure("mount its root", 2, "no such file: \udcff")
    assert Failure.decode(failure.encode()) == failure


def test_a_name_longer_than_the_kernel_allows_is_cut() -> None:
    assert plan(spec(name="x" * 80), Cgroup("box", V2), FOLDER).name == "x" * 64


def test_another_network_is_refused() -> None:
    with pytest.raises(Unsupported, match="no network of the kind 'vlan'"):
        plan(spec(network="vlan"), Cgroup("box", V2), FOLDER)


@pytest.mark.parametrize("root", ["/a:b", "/a,b", "/a\\b"])
def test_a_path_that_overlayfs_would_read_as_syntax_is_refused(root: str) -> None:
    with pytest.raises(Unsupported, match="overlayfs cannot take the path"):
        plan(spec(root), Cgroup("box", V2), FOLDER)

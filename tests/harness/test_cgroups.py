"""Cgroups: where boxes go on every kind of host, and that limits are really set on this one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness import cgroups
from harness.cgroups import Cgroup, Limits

MOUNT = "31 23 0:28 {root} {at} rw,relatime shared:9 - {kind} {kind} rw,{options}"


def mount(kind: str, at: str, options: str = "", root: str = "/") -> str:
    return MOUNT.format(kind=kind, at=at, options=options, root=root)


def test_hybrid_hosts_keep_boxes_below_us_on_v1() -> None:
    mode, parents = cgroups.locate(
        "4:memory:/own/place\n1:cpu,cpuacct:/\n0::/\n",
        "\n".join(
            [
                mount("cgroup", "/sys/fs/cgroup/memory", "memory"),
                mount("cgroup", "/sys/fs/cgroup/cpu", "cpuacct,cpu"),
                mount("cgroup2", "/sys/fs/cgroup/unified"),
            ]
        ),
    )
    assert mode == "hybrid"
    assert parents["memory"] == Path("/sys/fs/cgroup/memory/own/place")
    assert parents["cpu"] == parents["cpuacct"] == Path("/sys/fs/cgroup/cpu")
    assert parents["unified"] == Path("/sys/fs/cgroup/unified")


def test_v2_hosts_keep_boxes_beside_us() -> None:
    mode, parents = cgroups.locate("0::/user.slice/session-1.scope\n", mount("cgroup2", "/sys/fs/cgroup"))
    assert (mode, parents) == ("v2", {"unified": Path("/sys/fs/cgroup/user.slice")})


def test_on_v2_the_nearest_ancestor_that_hands_most_controllers_down_is_taken(tmp_path: Path) -> None:
    for folder, controllers in ((".", "cpu memory pids cpuset"), ("slice", "memory pids"), ("slice/user", "memory")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.subtree_control").write_text(controllers)
    _, parents = cgroups.locate("0::/slice/user/session\n", mount("cgroup2", str(tmp_path)))
    assert parents["unified"] == tmp_path
    (tmp_path / "slice" / "cgroup.subtree_control").write_text("cpu memory pids cpuset")
    _, parents = cgroups.locate("0::/slice/user/session\n", mount("cgroup2", str(tmp_path)))
    assert parents["unified"] == tmp_path / "slice"


def test_a_v2_folder_speaks_only_for_the_controllers_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("4096")
    (tmp_path / "memory.stat").write_text("inactive_file 0")
    assert Cgroup("box", {"unified": tmp_path}).memory_bytes() == 4096
    assert Cgroup("box", {"unified": tmp_path}, controllers=("cpuacct",)).memory_bytes() is None


def test_v1_hosts_have_no_unified_tree() -> None:
    mode, parents = cgroups.locate("3:pids:/a\n", mount("cgroup", "/c/pids", "pids"))
    assert (mode, parents) == ("v1", {"pids": Path("/c/pids/a")})


def test_a_mount_that_shows_a_subtree_is_followed_inside_it() -> None:
    _, parents = cgroups.locate("3:pids:/docker/x/y\n", mount("cgroup", "/c/pids", "pids", root="/docker/x"))
    assert parents["pids"] == Path("/c/pids/y")


@pytest.mark.machine
def test_limits_are_written_and_everything_is_removed() -> None:
    name = f"tare-test-{os.getpid()}"
    group = Cgroup.create(name, Limits(cpuset=(0,), cpus=0.5, memory_bytes=64 << 20, pids=10))
    try:
        process = subprocess.Popen(["sleep", "60"])
        group.join(process.pid)
        assert group.pids() == {process.pid}
        assert (group.memory_bytes() or 0) >= 0
        assert os.sched_getaffinity(process.pid) == {0}
    finally:
        group.remove()
    assert process.wait(5) == -9
    assert not any(path.exists() for path in group.paths.values())


@pytest.mark.machine
def test_left_overs_are_found_by_prefix_only() -> None:
    name = f"tare-left-{os.getpid()}-1"
    group = Cgroup.create(name, Limits())
    try:
        assert name in cgroups.leftovers("tare-left-")
        assert name not in cgroups.leftovers("tare-other-")
    finally:
        group.remove()


@pytest.mark.machine
def test_cpu_time_is_counted() -> None:
    group = Cgroup.create(f"tare-cpu-{os.getpid()}", Limits())
    try:
        process = subprocess.Popen(["busybox", "sh", "-c", "read x; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"],
                                   stdin=subprocess.PIPE)  # fmt: skip
        group.join(process.pid)
        process.communicate(b"go\n")
        assert 0.02 < (group.cpu_s() or 0) < 60
    finally:
        group.remove()

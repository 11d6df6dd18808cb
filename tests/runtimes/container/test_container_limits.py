"""The limits of a container limit, and what they cost the box shows in its cgroup."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from harness.errors import TrialFailed, Unsupported
from harness.model import Spec
from runtimes.container.driver import ContainerRuntime

pytestmark = pytest.mark.machine

SpecFactory = Callable[..., Spec]
BUSY_FOR_A_WHILE = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"


def test_more_memory_than_allowed_kills_and_is_counted(runtime: ContainerRuntime, box: SpecFactory) -> None:
    hog = "s=x; while :; do s=$s$s; done"
    with runtime.start(box(memory_bytes=32 << 20)) as instance:
        instance.wait_ready(10)
        assert instance.run(["sh", "-c", hog], timeout_s=30).exit_code == 128 + 9
        assert instance.cgroup.oom_kills() == 1
        assert instance.run(["echo", "alive"], timeout_s=10).stdout == b"alive\n"


def test_a_box_too_small_for_its_agent_says_why_it_ended(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with pytest.raises(TrialFailed) as caught, runtime.start(box(memory_bytes=64 << 10)) as instance:
        instance.wait_ready(10)
    assert "out of memory" in caught.value.log


def test_no_more_processes_than_allowed(runtime: ContainerRuntime, box: SpecFactory) -> None:
    many = "for i in 1 2 3 4 5 6 7 8 9; do sleep 9 & done; wait"
    with runtime.start(box(pids=6)) as instance:
        instance.wait_ready(10)
        done = instance.run(["sh", "-c", many], timeout_s=30)
        assert done.exit_code != 0 and b"fork" in done.stderr
        assert len(instance.pids()) <= 6


def test_a_fork_bomb_stays_in_the_box(runtime: ContainerRuntime, box: SpecFactory) -> None:
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 0.5"
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        with contextlib.suppress(TrialFailed):
            instance.run(["sh", "-c", bomb], timeout_s=1)
        assert len(instance.pids()) <= 1024
    assert instance.pids() == frozenset()


def test_it_runs_on_the_chosen_cpus_only(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box(cpuset=(1,))) as instance:
        instance.wait_ready(10)
        done = instance.run(["grep", "Cpus_allowed_list", "/proc/self/status"], timeout_s=10)
        assert done.stdout.split() == [b"Cpus_allowed_list:", b"1"]


def test_a_quota_holds_it_back(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box(cpus=0.2)) as instance:
        instance.wait_ready(10)
        instance.run(["sh", "-c", BUSY_FOR_A_WHILE], timeout_s=60)
        assert instance.cgroup.throttled_s() > 0.05


def test_setting_it_up_is_hardly_charged_to_it(runtime: ContainerRuntime, box: SpecFactory) -> None:
    """v1 joins after the mounts; v2 cannot, so its allowance is what a set-up takes."""
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        cpu_s, memory_bytes = instance.cgroup.cpu_s(), instance.cgroup.memory_bytes()
    assert cpu_s is not None and memory_bytes is not None
    assert cpu_s < 0.05
    assert memory_bytes < 4 << 20


def test_a_limit_that_cannot_be_kept_starts_nothing(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with pytest.raises((OSError, Unsupported)), runtime.start(box(cpuset=(4095,))):
        pass

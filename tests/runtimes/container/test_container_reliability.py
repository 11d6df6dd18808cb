"""Many boxes, full disks, no descriptors left, and a kill at every step of a start: nothing grows, nothing stays."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cgroups import UNIFIED, hierarchies, leftovers
from harness.contract import Workspace
from harness.errors import TareError, TrialFailed, Unsupported
from harness.model import Image, Spec
from runtimes.container.driver import ContainerRuntime
from runtimes.container.planning import Command
from tests.runtimes.container.test_container_traces import await_end, children, harness, seeing, victim_mark

pytestmark = pytest.mark.machine

__all__ = ["victim_mark"]

SpecFactory = Callable[..., Spec]
TRUE = Command(("/bin/true",), (("PATH", "/bin"),))
SETTLE_S = 10.0
QUIET_S = 0.1
FOUR_FIGURES = 1000
WARM_UP, STARTS, THREADS, STARTS_PER_THREAD = 200, 1000, 32, 200


@dataclass(frozen=True)
class Residue:
    """What boxes could leave behind, on the whole host and in the two processes that make them."""

    descriptors: int
    zygote_descriptors: int
    threads: int
    mounts: frozenset[str]
    zygote_mounts: frozenset[str]
    namespaces: frozenset[str]
    cgroups: tuple[str, ...]
    folders: tuple[str, ...]

    @classmethod
    def now(cls, workspace: Workspace) -> Residue:
        """Once the zygote has made what the next box needs, for which it waits until it has nothing else to do."""
        (zygote,) = zygotes_of(workspace)
        threading.Event().wait(QUIET_S)
        return cls(
            descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (as it is at once)
            zygote_descriptors=len(os.listdir(f"/proc/{zygote}/fd")),  # noqa: PTH208
            threads=threading.active_count(),
            mounts=frozenset(path for path in mount_points("self") if path.startswith(str(workspace.scratch))),
            zygote_mounts=frozenset(mount_points(zygote)) - set(mount_points("self")),
            namespaces=frozenset(namespaces_of([os.getpid(), zygote])),
            cgroups=tuple(sorted(leftovers(workspace.mark))),
            folders=tuple(sorted(path.name for path in workspace.scratch.iterdir())),
        )


def zygotes_of(workspace: Workspace) -> list[int]:
    """Children of ours that write the log of this workspace."""
    log = str(workspace.scratch / "zygote.log")
    return [pid for pid in children(os.getpid()) if os.readlink(f"/proc/{pid}/fd/1") == log]  # noqa: PTH115


def mount_points(pid: int | str) -> list[str]:
    """Others mount and unmount on this host meanwhile, so only what can be ours is compared."""
    return [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]


def namespaces_of(pids: list[int]) -> Iterator[str]:
    for pid in pids:
        yield from (str(path.readlink()) for path in Path(f"/proc/{pid}/ns").iterdir())


def dying_cgroups() -> int:
    """Removed, and not yet taken apart by the kernel."""
    if UNIFIED not in hierarchies().parents:
        return 0
    stat = (hierarchies().parents[UNIFIED] / "cgroup.stat").read_text()
    return next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("nr_dying_descendants "))


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def run_true(runtime: ContainerRuntime, spec: Spec) -> int | None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        with runtime.execute(spec, TRUE, (null, null, null)) as box:
            assert box.process.ended(60)
            return box.process.exit_code
    finally:
        os.close(null)


def settled(condition: Callable[[], bool]) -> bool:
    """The kernel takes some things apart in the background."""
    give_up = time.monotonic() + SETTLE_S
    while not condition():
        if time.monotonic() > give_up:
            return False
        threading.Event().wait(0.05)
    return True


@pytest.mark.slow
def test_a_thousand_boxes_leave_nothing(runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace) -> None:
    # All of one length: a name with one figure more may be the first of a size for which Python opens another pool.
    names = map(workspace.name, itertools.count(FOUR_FIGURES))
    for _ in range(WARM_UP):  # until the zygote has touched all the memory it works in
        assert run_true(runtime, box(name=next(names))) == 0
    (zygote,) = zygotes_of(workspace)
    before, dying, memory_kib = Residue.now(workspace), dying_cgroups(), resident_kib(zygote)
    for _ in range(STARTS):
        assert run_true(runtime, box(name=next(names))) == 0
    assert Residue.now(workspace) == before
    assert resident_kib(zygote) - memory_kib <= 8
    assert settled(lambda: dying_cgroups() <= dying + 5)


@pytest.mark.slow
def test_thirty_two_at_once_leave_nothing(runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace) -> None:
    assert run_true(runtime, box()) == 0
    before, dying = Residue.now(workspace), dying_cgroups()
    specs = [[box(network="loopback") for _ in range(STARTS_PER_THREAD)] for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        codes = list(pool.map(lambda mine: [run_true(runtime, spec) for spec in mine], specs))
    assert {code for mine in codes for code in mine} == {0}
    assert Residue.now(workspace) == before
    assert settled(lambda: dying_cgroups() <= dying + 5)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("inodes", "said"),
    [(3, "no space left on the disk that holds"), (5, "could not mount its root: overlay: there is no")],
)
def test_a_disk_without_room_for_a_box_is_named_and_nothing_stays(
    image: Image, mark: str, tmp_path: Path, inodes: int, said: str
) -> None:
    with small_disk(tmp_path / "full", f"nr_inodes={inodes}") as scratch:
        runtime = ContainerRuntime(Workspace(store=tmp_path / "store", scratch=scratch, mark=mark))
        try:
            spec = Spec(name=f"{mark}-full", prepared=runtime.prepare(image))
            for _ in range(2):
                with pytest.raises(TareError, match=said):
                    run_true(runtime, spec)
            assert [path.name for path in scratch.iterdir()] == ["zygote.log"]
            assert leftovers(mark) == {}
        finally:
            runtime.close()


def test_a_disk_that_fills_up_is_the_boxs_own_affair(image: Image, mark: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "size=2m") as scratch:
        runtime = ContainerRuntime(Workspace(store=tmp_path / "store", scratch=scratch, mark=mark))
        try:
            with runtime.start(Spec(name=f"{mark}-small", prepared=runtime.prepare(image))) as instance:
                instance.wait_ready(10)
                done = instance.run(["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=8"], timeout_s=20)
                assert done.exit_code != 0  # and no words: they would go to the same disk
                instance.run(["rm", "/big"], timeout_s=10)
                assert instance.run(["echo", "alive"], timeout_s=10).stdout == b"alive\n"
            assert leftovers(mark) == {}
        finally:
            runtime.close()


@pytest.mark.parametrize("spare", range(0, 16, 2))
def test_without_descriptors_a_start_fails_whole(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace, spare: int
) -> None:
    assert run_true(runtime, box()) == 0
    before, spec = Residue.now(workspace), box()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for descriptor in taken[len(taken) - spare :] if spare else []:
            os.close(descriptor)
        taken = taken[: len(taken) - spare]
        with contextlib.suppress(OSError, TareError):
            run_true(runtime, spec)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)
    assert Residue.now(workspace) == before
    assert run_true(runtime, box()) == 0


@pytest.mark.parametrize("spare", range(12))
def test_a_zygote_without_descriptors_loses_no_box(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace, spare: int
) -> None:
    with runtime.start(box()) as other:
        other.wait_ready(10)
        (zygote,) = zygotes_of(workspace)
        limits = resource.prlimit(zygote, resource.RLIMIT_NOFILE)
        used = {int(path.name) for path in Path(f"/proc/{zygote}/fd").iterdir()}
        free = itertools.filterfalse(used.__contains__, itertools.count())
        resource.prlimit(zygote, resource.RLIMIT_NOFILE, (next(itertools.islice(free, spare, None)), limits[1]))
        try:
            with contextlib.suppress(TrialFailed, Unsupported):
                assert run_true(runtime, box()) == 0
        finally:
            resource.prlimit(zygote, resource.RLIMIT_NOFILE, limits)
        assert zygotes_of(workspace) == [zygote]
        assert run_true(runtime, box()) == 0
        assert other.run(["echo", "alive"], timeout_s=10).stdout == b"alive\n"


def test_a_box_may_not_have_even_one_more_process(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box(pids=1)) as instance:
        instance.wait_ready(10)
        with contextlib.suppress(TareError):
            instance.run(["true"], timeout_s=5)
        assert len(instance.pids()) <= 1


def test_a_frozen_box_is_removed_like_any_other(runtime: ContainerRuntime, box: SpecFactory, mark: str) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        instance.pause()
    assert leftovers(mark) == {}


Reached = Callable[[int], bool]


def mounted(what: str) -> Reached:
    return lambda pid: what in Path(f"/proc/{pid}/mountinfo").read_text()


def filtered(pid: int) -> bool:
    return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()


def bounded(pid: int) -> bool:
    return "CapEff:\t00000000800405fb" in Path(f"/proc/{pid}/status").read_text()


def executed(pid: int) -> bool:
    return "memfd" not in os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 (not a path)


STEPS: dict[str, Reached] = {
    "cloned": lambda pid: True,
    "root mounted": mounted("upperdir="),
    "root entered": lambda pid: Path(f"/proc/{pid}/mountinfo").read_text().count("\n") < 4,
    "proc mounted": mounted(" /proc "),
    "devices mounted": mounted(" /dev/pts "),
    "covered": mounted(" /proc/timer_list "),
    "cgroup view mounted": mounted(" /sys/fs/cgroup "),
    "made read-only": mounted(" /proc/sys "),
    "capabilities gone": bounded,
    "filtered": filtered,
    "executed": executed,
}
"""What can be seen of a start from outside, in the order in which it happens."""


def kill_when(reached: Reached, zygote: int, victim: int) -> None:
    """Watches the zygote's children until one has come that far, then kills at once: the step after is under way."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError):
            if any(reached(pid) for pid in children(zygote)):
                os.kill(victim, signal.SIGKILL)
                return
    raise AssertionError("no start came that far")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("who", ["harness", "zygote"])
def test_a_kill_at_any_step_leaves_no_process_and_a_sweep_the_rest(
    runtime: ContainerRuntime, image: Image, tmp_path: Path, victim_mark: str, who: str, step: str
) -> None:
    with harness(image, tmp_path / "victim", victim_mark, boxes=1_000_000) as victim:
        assert victim.stdout is not None
        (zygote,) = children(victim.pid)
        pidfds = [os.pidfd_open(zygote)]
        kill_when(STEPS[step], zygote, victim.pid if who == "harness" else zygote)
        await_end(pidfds)
        victim.kill()
    assert settled(lambda: not seeing(tmp_path / "victim")), "a box outlived its zygote"
    assert settled(lambda: not any(cgroup.pids() for cgroup in leftovers(victim_mark).values()))
    runtime.sweep(lambda name: not name.startswith(victim_mark))
    assert leftovers(victim_mark) == {}

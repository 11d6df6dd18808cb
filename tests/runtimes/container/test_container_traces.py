"""Nothing of a container is left: not after it ended, not after it failed, not after its harness was killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from harness import marks
from harness.cgroups import Cgroup, Limits, leftovers
from harness.contract import Workspace
from harness.errors import TrialFailed
from harness.model import Image, Spec
from runtimes.container.driver import ContainerRuntime

pytestmark = pytest.mark.machine

SpecFactory = Callable[..., Spec]

HARNESS = """
import sys
from pathlib import Path
import msgspec
from harness.contract import Workspace
from harness.model import Image, Spec
from runtimes.container.driver import ContainerRuntime

image, scratch, mark, boxes = sys.argv[1:]
runtime = ContainerRuntime(Workspace(store=Path(scratch), scratch=Path(scratch), mark=mark))
prepared = runtime.prepare(msgspec.json.decode(image, type=Image))
print("prepared", flush=True)
for number in range(int(boxes)):
    with runtime.start(Spec(name=f"{mark}-{number}", prepared=prepared)) as instance:
        instance.wait_ready(10)
        print(*instance.pids(), flush=True)
        if boxes == "1":
            sys.stdin.read()
"""


def inhabited() -> Iterator[tuple[Path, str]]:
    """Every namespace some process is in that we may look at, beside that process."""
    for path in Path("/proc").glob("[0-9]*/ns/*"):
        with contextlib.suppress(OSError):
            yield path, str(path.readlink())


def seeing(mount: Path) -> list[str]:
    """Processes to which that folder's file system is mounted as a root: a box, or one on its way."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            if f"upperdir={mount}" in path.read_text():
                found.append(path.parent.name)
    return found


def descriptors(pid: int | str) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def await_end(pidfds: list[int], timeout_s: float = 10.0) -> None:
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(timeout_s * 1000), "a process outlived its harness"
        os.close(pidfd)


@pytest.fixture
def victim_mark() -> Iterator[str]:
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@contextmanager
def harness(image: Image, scratch: Path, mark: str, boxes: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts boxes, to be killed while it does."""
    argv = [sys.executable, "-c", HARNESS, msgspec.json.encode(image).decode(), str(scratch), mark, str(boxes)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "prepared\n"
        yield process
        process.kill()


def test_fifty_boxes_leave_nothing(runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
    zygote = zygote_of(os.getpid())
    quiet()
    before = descriptors("self"), descriptors(zygote), Path("/proc/self/mountinfo").read_text()
    memory_kib = rss_kib(zygote)
    entered: set[str] = set()
    for _ in range(50):
        with runtime.start(box()) as instance:
            instance.wait_ready(10)
            entered |= {line.split()[1] for line in instance.documents()["namespaces"].splitlines()}
            instance.run(["sh", "-c", "sleep 100 & (sleep 100 &) ; true"], timeout_s=10)
    quiet()
    assert (descriptors("self"), descriptors(zygote), Path("/proc/self/mountinfo").read_text()) == before
    assert not {path.parent.parent.name for path, namespace in inhabited() if namespace in entered - own_namespaces()}
    assert children(zygote) == []
    assert leftovers(workspace.mark) == {}
    assert [path.name for path in workspace.scratch.iterdir()] == ["zygote.log"]
    assert rss_kib(zygote) - memory_kib < 256


def quiet() -> None:
    """Until the zygote has made what the next box needs: it waits until it has nothing else to do."""
    select.poll().poll(100)


def own_namespaces() -> set[str]:
    return {str(path.readlink()) for path in Path("/proc/self/ns").iterdir()}


def zygote_of(pid: int) -> int:
    (zygote,) = (child for child in children(pid) if os.getsid(child) == child)
    return zygote


def rss_kib(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def test_the_zygote_is_small_and_alone(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()):
        zygote = zygote_of(os.getpid())
        assert rss_kib(zygote) <= 14 << 10
        assert len(list(Path(f"/proc/{zygote}/task").iterdir())) == 1
    pidfd = os.pidfd_open(zygote)
    runtime.close()
    runtime.close()
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, 0)
    os.close(pidfd)


def test_many_at_once_come_and_go_in_any_order(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace
) -> None:
    with ExitStack() as stack:
        instances = [stack.enter_context(runtime.start(box())) for _ in range(20)]
        for instance in instances:
            instance.wait_ready(10)
        for instance in instances[::3]:
            instance.stop()
        for number, instance in enumerate(instances):
            if number % 3:
                assert instance.run(["echo", str(number)], timeout_s=10).stdout == f"{number}\n".encode()
    assert leftovers(workspace.mark) == {}


def test_a_failed_start_leaves_nothing(
    runtime: ContainerRuntime, box: SpecFactory, image: Image, workspace: Workspace, tmp_path: Path
) -> None:
    spec = box()
    before = descriptors("self")
    for root in ("/nowhere", str(tmp_path)):
        broken = msgspec.structs.replace(image, root=root)
        prepared = msgspec.structs.replace(spec.prepared, image=broken)
        with pytest.raises(TrialFailed), runtime.start(msgspec.structs.replace(spec, prepared=prepared)):
            pass
    assert descriptors("self") == before
    assert leftovers(workspace.mark) == {}
    assert [path.name for path in workspace.scratch.iterdir()] == ["zygote.log"]


def test_an_error_in_the_block_ends_the_box_too(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace
) -> None:
    with pytest.raises(ZeroDivisionError), runtime.start(box()) as instance:
        pidfds = [os.pidfd_open(pid) for pid in instance.pids()]
        raise ZeroDivisionError
    await_end(pidfds)
    assert leftovers(workspace.mark) == {}


def test_a_killed_zygote_takes_its_boxes_along_and_is_replaced(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace
) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        zygote = zygote_of(os.getpid())
        pidfds = [os.pidfd_open(pid) for pid in instance.pids()]
        os.kill(zygote, signal.SIGKILL)
        await_end(pidfds)
        with pytest.raises(TrialFailed) as caught:
            instance.run(["true"], timeout_s=10)
        assert caught.value.log == "its zygote is gone"
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
    assert leftovers(workspace.mark) == {}


def test_a_killed_harness_leaves_no_process(
    runtime: ContainerRuntime, image: Image, tmp_path: Path, victim_mark: str
) -> None:
    with harness(image, tmp_path / "victim", victim_mark, boxes=1) as victim:
        assert victim.stdout is not None
        pidfds = [os.pidfd_open(int(pid)) for pid in victim.stdout.readline().split()]
        pidfds += [os.pidfd_open(pid) for pid in children(victim.pid)]
        victim.kill()
        await_end(pidfds)
    assert set(leftovers(victim_mark)) == {f"{victim_mark}-0"}
    assert runtime.sweep(lambda name: not name.startswith(victim_mark)) == [f"removed cgroup {victim_mark}-0"]
    assert leftovers(victim_mark) == {}


@pytest.mark.parametrize("delay_ms", range(8))
def test_a_harness_killed_while_it_starts_boxes_leaves_no_process(
    runtime: ContainerRuntime, image: Image, tmp_path: Path, victim_mark: str, delay_ms: int
) -> None:
    with harness(image, tmp_path / "victim", victim_mark, boxes=1_000_000) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        pidfds = [os.pidfd_open(pid) for pid in children(victim.pid)]
        select.poll().poll(delay_ms)
        victim.kill()
        await_end(pidfds)
    give_up = time.monotonic() + 10
    while seeing(tmp_path / "victim") or any(cgroup.pids() for cgroup in leftovers(victim_mark).values()):
        assert time.monotonic() < give_up, "a box outlived its harness"
    assert not any("killed" in said for said in runtime.sweep(lambda name: not name.startswith(victim_mark)))
    assert leftovers(victim_mark) == {}


def test_sweep_removes_the_dead_and_spares_the_living(
    runtime: ContainerRuntime, workspace: Workspace, victim_mark: str
) -> None:
    dead, living = (Cgroup.create(f"{mark}-0", Limits()) for mark in (victim_mark, workspace.mark))
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        dead.join(sleeper.pid)
        said = runtime.sweep(lambda name: not name.startswith(victim_mark))
        assert sleeper.wait(10) == -signal.SIGKILL
    assert said == [f"removed cgroup {dead.name} and killed 1 processes in it"]
    assert leftovers(victim_mark) == {}
    assert set(leftovers(workspace.mark)) == {living.name}
    living.remove()

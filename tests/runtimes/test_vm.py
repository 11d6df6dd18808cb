"""Emulated virtual machines on this host, end to end."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from harness import agent, images, kernels, marks, proc
from harness.cgroups import leftovers
from harness.contract import Checkpointable, Pausable, Workspace
from harness.errors import TrialFailed, TrialTimeout, Unsupported, UsageError
from harness.model import Spec
from runtimes.bridge import bridges
from runtimes.vm import driver
from runtimes.vm.connection import Domain
from runtimes.vm.driver import VmRuntime

pytestmark = [pytest.mark.machine, pytest.mark.slow]

Specs = Callable[..., Spec]

READY_S = 60.0
SHOW_NETWORK = """
ip -4 addr show eth0
ping -c 1 -W 5 $(ip route | sed -n 's/default via //p' | cut -d' ' -f1)
"""
RUN_S = 20.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """Claimed like a run's, so that a sweep elsewhere on this host lets these boxes live."""
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@pytest.fixture(scope="module")
def runtime(home: Path, scratch: Path, mark: str) -> Iterator[VmRuntime]:
    made = driver.tcg(Workspace(store=home, scratch=scratch, mark=mark))
    yield made
    made.close()


@pytest.fixture(scope="module")
def box_spec(runtime: VmRuntime, home: Path, mark: str) -> Specs:
    prepared = runtime.prepare(images.build_tiny(home, kernels.provide(home)))
    numbers = itertools.count()
    return lambda **limits: Spec(name=f"{mark}-{next(numbers)}", prepared=prepared, **limits)


def test_a_box_starts_runs_and_leaves_nothing_behind(runtime: VmRuntime, box_spec: Specs, scratch: Path) -> None:
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        (pid,) = box.pids()
        assert box.run(["echo", "weighed"], RUN_S).stdout == b"weighed\n"
        assert box.run(["sh", "-c", "exit 3"], RUN_S).exit_code == 3
        (overlay,) = box.disk_paths
        assert overlay.exists()
        assert box.cgroup is not None
        assert box.cgroup.pids() == {pid}
        # Charged from its birth: guest memory and QEMU's own.
        assert (box.cgroup.memory_bytes() or 0) > 50 << 20
    assert not overlay.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not leftovers(box.name)
    assert not list(scratch.iterdir())


def test_nothing_accumulates_over_boxes(runtime: VmRuntime, box_spec: Specs) -> None:
    counts = []
    for _ in range(3):
        with runtime.start(box_spec()):
            pass
        counts.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
    # The first box makes libvirt open what it then keeps.
    assert counts[1] == counts[2]


def test_the_guest_runs_the_same_bytes(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        checked = box.run(["sh", "-c", f"cd / && sha256sum -c {agent.MANIFEST}"], RUN_S)
        environment = box.run(["env"], RUN_S).stdout.decode()
        first = box.run(["cat", "/proc/1/cmdline"], RUN_S).stdout
    assert checked.exit_code == 0, checked
    assert {"HOME=/", "TARE_TMP=/tmp", f"PATH={agent.PATH}"} <= set(environment.splitlines())
    assert first.split(b"\0")[:-1] == [word.encode() for word in agent.ARGV]


def test_the_guests_clock_keeps_time(runtime: VmRuntime, box_spec: Specs) -> None:
    """Emulation hands the host's counter through: told another rate, the guest's clock runs wrong by as much."""
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        began_s = time.monotonic()
        assert box.run(["sleep", "2"], RUN_S).exit_code == 0
        assert 1.9 < time.monotonic() - began_s < 4


def test_phases_follow_one_another(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        assert [phase.name for phase in box.phases()] == ["create", "spawn"]
        box.wait_ready(READY_S)
        phases = box.phases()
        said = box.run(["dmesg"], RUN_S).stdout.decode()
    assert [phase.name for phase in phases] == ["create", "spawn", "firmware", "kernel", "userspace"]
    assert all(phase.began_s < phase.ended_s for phase in phases)
    assert all(one.ended_s == next_.began_s for one, next_ in itertools.pairwise(phases))
    # The guest's own clock starts when its kernel does and says the same.
    stamp = re.search(r"^\[ *([\d.]+)\] Run /init as init process$", said, re.MULTILINE)
    assert stamp
    kernel_s = phases[3].ended_s - phases[3].began_s
    assert float(stamp[1]) == pytest.approx(kernel_s, rel=0.25)


def test_documents_say_how_it_was_started(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        texts = box.documents()
    assert f"<name>{box.name}</name>" in texts["domain.xml"]
    assert "quiet" in texts["kernel command line"]
    assert "-accel tcg" in texts["qemu command line"]
    assert "q35" in texts["machine"] and "SeaBIOS" in texts["machine"]
    assert "KSM: run " in texts["memory"]
    assert re.match(r"\d+\.\d+.*, sha256:[0-9a-f]{64}\n", texts["kernel"])
    assert "virtio-blk" in texts["devices"] and "virtserialport" in texts["devices"]
    assert "CPU 0/TCG: CPUs " in texts["threads"]


def test_what_one_box_writes_no_other_sees(runtime: VmRuntime, box_spec: Specs) -> None:
    for _ in range(2):
        with runtime.start(box_spec()) as box:
            box.wait_ready(READY_S)
            assert box.run(["test", "-e", "/written"], RUN_S).exit_code == 1
            assert box.run(["sh", "-c", "echo 1 >/written && sync"], RUN_S).exit_code == 0


def test_limits_hold_from_the_first_instruction(runtime: VmRuntime, box_spec: Specs) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    spec = box_spec(cpuset=tuple(cpus), cpus=0.4, memory_bytes=192 << 20)
    with runtime.start(spec) as box:
        box.wait_ready(READY_S)
        (pid,) = box.pids()
        assert box.run(["nproc"], RUN_S).stdout.strip() == str(len(cpus)).encode()
        kilobytes = int(box.run(["sh", "-c", "grep MemTotal /proc/meminfo"], RUN_S).stdout.split()[1])
        assert 100_000 < kilobytes < 192 * 1024
        assert os.sched_getaffinity(pid) == set(cpus)
        assert box.cgroup is not None
        assert box.cgroup.throttled_s() > 0


def test_a_killed_qemu_fails_the_trial(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        (pid,) = box.pids()
        killer = threading.Timer(0.3, os.kill, (pid, 9))
        killer.start()
        with pytest.raises(TrialFailed, match="ended unexpectedly"):
            box.run(["sleep", "30"], RUN_S)
        killer.join()
        box.stop()
        assert box.pids() == frozenset()
        box.stop()
    assert not leftovers(box.name)


def test_a_killed_qemu_fails_whatever_is_asked_of_it(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        (pid,) = box.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TrialFailed, match="libvirt did not pause the box"):
            cast(Pausable, box).pause()


def test_a_start_that_fails_half_way_leaves_nothing_and_waits_for_nobody(
    runtime: VmRuntime, box_spec: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Domain) -> None:
        raise TrialFailed("planted")

    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())
    spec = box_spec()
    monkeypatch.setattr(Domain, "resume", refuse)
    began_s = time.monotonic()
    with pytest.raises(TrialFailed, match="planted"), runtime.start(spec):
        pass
    assert time.monotonic() - began_s < 10
    assert set(children.read_text().split()) <= before
    assert not leftovers(spec.name)


def test_a_box_that_is_too_slow_is_a_timeout(runtime: VmRuntime, box_spec: Specs) -> None:
    with (
        runtime.start(box_spec()) as box,
        pytest.raises(TrialTimeout, match="did not become ready within"),
    ):
        box.wait_ready(0.05)


def test_a_guest_without_enough_memory_fails_with_its_last_words(runtime: VmRuntime, box_spec: Specs) -> None:
    with (
        runtime.start(box_spec(memory_bytes=40 << 20)) as box,
        pytest.raises(TrialFailed) as caught,
    ):
        box.wait_ready(READY_S)
    assert not isinstance(caught.value, TrialTimeout)


def test_pause_and_resume(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        assert hasattr(box, "pause")
        box.pause()
        with pytest.raises(TrialTimeout):
            box.run(["true"], 0.5)


def test_what_a_machine_cannot_do_is_said(runtime: VmRuntime, box_spec: Specs) -> None:
    with (
        pytest.raises(Unsupported, match="the network none or bridge"),
        runtime.start(box_spec(network="nat")),
    ):
        pass


def test_a_link_is_made_and_goes_with_qemu(runtime: VmRuntime, box_spec: Specs, tmp_path: Path) -> None:
    spec = box_spec(network="bridge")
    port = Path("/sys/class/net", bridges.port_of(spec.name))
    with runtime.start(spec) as box:
        box.wait_ready(READY_S)
        assert port.exists()
        shown = box.run(["sh", "-c", SHOW_NETWORK], RUN_S)
        assert shown.exit_code == 0, shown
        assert f"inet {box.address}/20".encode() in shown.stdout
        with pytest.raises(UsageError, match="cannot be saved"):
            cast(Checkpointable, box).checkpoint(tmp_path)
        (pid,) = box.pids()
        os.kill(pid, 9)
        deadline_s = time.monotonic() + 10
        while port.exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    with pytest.raises(Unsupported, match="restored"), runtime.restore(box_spec(network="bridge"), tmp_path):
        pass


def test_a_full_disk_fails_the_checkpoint_and_leaves_the_box(
    runtime: VmRuntime, box_spec: Specs, tmp_path: Path
) -> None:
    proc.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)])
    try:
        with runtime.start(box_spec()) as box:
            box.wait_ready(READY_S)
            with pytest.raises(TrialFailed, match="did not save"):
                cast(Checkpointable, box).checkpoint(tmp_path)
            assert box.run(["echo", "still here"], RUN_S).stdout == b"still here\n"
            with pytest.raises(UsageError), runtime.restore(box_spec(), tmp_path):
                pass
    finally:
        proc.run(["umount", str(tmp_path)])
    assert not leftovers(box.name)


def test_qemu_killed_while_it_boots_or_saves(runtime: VmRuntime, box_spec: Specs, tmp_path: Path) -> None:
    with runtime.start(box_spec()) as box, pytest.raises(TrialFailed, match="ended unexpectedly"):
        (pid,) = box.pids()
        os.kill(pid, 9)
        box.wait_ready(READY_S)
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        (pid,) = box.pids()
        killer = threading.Timer(0.1, os.kill, (pid, 9))
        killer.start()
        with pytest.raises(TrialFailed, match="did not save"):
            cast(Checkpointable, box).checkpoint(tmp_path)
        killer.join()
    assert not leftovers(box.name)


def test_a_kernel_that_panics_fails_the_trial_with_its_last_words(runtime: VmRuntime, box_spec: Specs) -> None:
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        with pytest.raises(TrialFailed, match="ended unexpectedly") as caught:
            box.run(["sh", "-c", "echo c >/proc/sysrq-trigger"], RUN_S)
    assert "Kernel panic - not syncing" in caught.value.log


def test_a_guest_that_hangs_is_a_timeout_and_is_ended(runtime: VmRuntime, box_spec: Specs) -> None:
    """Its only CPU stands still, which the host does not see: QEMU is as busy as ever."""
    with runtime.start(box_spec()) as box:
        box.wait_ready(READY_S)
        (pid,) = box.pids()
        with pytest.raises(TrialTimeout):
            box.run(["sh", "-c", "kill -STOP -1; while :; do :; done"], 1.0)
    assert not Path(f"/proc/{pid}").exists()


def test_the_distributions_usual_kernel_boots_too(runtime: VmRuntime, home: Path, mark: str) -> None:
    """It has less built in than the cloud kernel: not even what the disk is read with."""
    kernel = kernels.provide(home, "linux-image-amd64")
    prepared = runtime.prepare(images.build_tiny(home, kernel, name="usual"))
    with runtime.start(Spec(name=f"{mark}-usual", prepared=prepared)) as box:
        box.wait_ready(READY_S)
        assert box.run(["uname", "-r"], RUN_S).stdout.decode().strip() == kernel.version

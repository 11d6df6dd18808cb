"""What every runtime must do, whichever it is: the same tests for all."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from harness import agent, cgroups, images
from harness.contract import Bench, Checkpointable, Completed, Haltable, Instance, Pausable, Restorer, Runtime
from harness.errors import TrialFailed, TrialTimeout
from harness.model import Feature, Image, Role, Spec
from scenarios import gauges, web
from tests.conformance.conftest import First
from tests.conformance.watch import Traces, descendants

pytestmark = pytest.mark.machine

READY_S = 60.0
RUN_S = 60.0
MIB = 1 << 20
PLANTED_BYTES = 32 * MIB

HOLD = """
mkfifo "$TARE_TMP/pipe"
dd if=/dev/zero bs=$1 count=1 3<>"$TARE_TMP/pipe" >&3 2>/dev/null &
until [ "$(sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$!/status)" -ge $(($1 / 1024)) ]; do usleep 10000; done
"""
"""A process that has written to a buffer of so many bytes and keeps it: nobody reads the pipe it writes to."""

SPIN = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
LEAST_SPIN_S = 0.02
"""No CPU there is does that in less."""

Specs = Callable[..., Spec]


def sh(instance: Instance, script: str, *arguments: str) -> Completed:
    return instance.run(["sh", "-c", script, "test", *arguments], RUN_S)


def require(runtime: Runtime, feature: Feature) -> None:
    """A power is tested where it is declared: a runtime without it promises nothing that could fail."""
    if feature not in runtime.probe().features:
        pytest.skip(f"{runtime.name} declares no {feature}")


def test_it_becomes_ready_and_runs_commands(runtime: Runtime, spec: Specs) -> None:
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        done = sh(instance, "echo out; echo err >&2; exit 5")
        assert (done.exit_code, done.stdout, done.stderr) == (5, b"out\n", b"err\n")
        assert instance.run(["printf", "%s|%s", "a b", "c'd\n"], RUN_S).stdout == b"a b|c'd\n"


def test_it_runs_the_bytes_of_the_image(runtime: Runtime, spec: Specs, image: Image) -> None:
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        done = sh(instance, 'cd "$TARE_ROOT/" && sha256sum -c .tare/manifest >&2 && sha256sum <.tare/manifest')
        assert done.exit_code == 0, done.stderr
        assert f"sha256:{done.stdout.decode().split()[0]}" == image.content_digest


def test_its_files_are_prepared_once_by_digest(runtime: Runtime, image: Image) -> None:
    first, second = runtime.prepare(image), runtime.prepare(image)
    assert first == second
    assert all(Path(artifact.path).exists() for artifact in first.artifacts)
    assert any(artifact.role is Role.ROOT for artifact in first.artifacts)


def test_phases_cover_the_start(runtime: Runtime, spec: Specs) -> None:
    """Of three starts one must be covered to within 1 %: a moment lost to a neighbour is no gap in the phases."""
    assert min(_uncovered(runtime, spec()) for _ in range(3)) < 1.0


def _uncovered(runtime: Runtime, spec: Spec) -> float:
    """The widest gap at either end of the phases, in units of what is allowed: 1 % and half a millisecond."""
    began_s = time.monotonic()
    with runtime.start(spec) as instance:
        instance.wait_ready(READY_S)
        ready_s = time.monotonic()
        phases = instance.phases()
    for before, after in itertools.pairwise(phases):
        assert before.ended_s == after.began_s
    assert all(phase.ended_s >= phase.began_s for phase in phases)
    allowed_s = 0.01 * (ready_s - began_s) + 0.0005
    return max(phases[0].began_s - began_s, ready_s - phases[-1].ended_s) / allowed_s


def test_memory_of_a_guest_is_told_apart(runtime: Runtime, spec: Specs) -> None:
    """By the name of its mapping, in each box that boots a kernel of its own, and in no other."""
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        guest_bytes = gauges.guest_resident_bytes(gauges.mappings(instance.pids()))
        boots = any(phase.name == "kernel" for phase in instance.phases())
        assert (guest_bytes is not None) == boots
        assert guest_bytes is None or 16 * MIB < guest_bytes <= 256 * MIB


def test_it_runs_on_the_cpus_it_was_given(runtime: Runtime, spec: Specs) -> None:
    last = max(os.sched_getaffinity(0))
    with runtime.start(spec(cpuset=(last,))) as instance:
        instance.wait_ready(READY_S)
        assert sh(instance, "grep -c ^processor /proc/cpuinfo").exit_code == 0
        before = _ticks(instance)
        sh(instance, SPIN)
        busiest = max(_ticks(instance).items(), key=lambda item: item[1] - before.get(item[0], 0))[0]
        assert os.sched_getaffinity(busiest) == {last}


def _ticks(instance: Instance) -> dict[int, int]:
    """User and system time of every thread of the box, ended children included; who ends meanwhile is left out."""
    used = {}
    for pid in instance.pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                used[int(task.name)] = sum(map(int, fields[11:15]))
    return used


def test_a_memory_limit_limits(runtime: Runtime, spec: Specs) -> None:
    require(runtime, Feature.LIMITS)
    with runtime.start(spec(memory_bytes=192 * MIB)) as instance:
        instance.wait_ready(READY_S)
        assert sh(instance, "dd if=/dev/zero of=/dev/null bs=8M count=1").exit_code == 0
        try:
            assert sh(instance, "dd if=/dev/zero of=/dev/null bs=264M count=1").exit_code != 0
        except TrialFailed:
            assert instance.cgroup is not None
            assert instance.cgroup.oom_kills() > 0  # the box went down with the command


def test_a_cpu_quota_limits(runtime: Runtime, spec: Specs) -> None:
    """Judged by the share of a CPU it got, which a busy host can only make smaller, never by how long it took."""
    require(runtime, Feature.LIMITS)
    with runtime.start(spec(cpus=0.2)) as instance:
        instance.wait_ready(READY_S)
        used_s, elapsed_s = _spin(instance)
    assert used_s < 0.2 * elapsed_s * 1.1 + 0.02  # a period's share may be spent at once
    assert used_s > LEAST_SPIN_S


def _spin(instance: Instance) -> tuple[float, float]:
    """CPU seconds and seconds of a piece of work, as the host saw it."""
    before_s, began_s = gauges.cpu_s(instance), time.monotonic()
    sh(instance, SPIN)
    after_s, elapsed_s = gauges.cpu_s(instance), time.monotonic() - began_s
    assert before_s is not None
    assert after_s is not None
    return after_s - before_s, elapsed_s


def test_the_memory_gauge_sees_what_is_planted(runtime: Runtime, spec: Specs) -> None:
    """On the host for boxes that share its kernel; from inside for those that bring their own (`kernel` phase)."""
    with runtime.start(spec(memory_bytes=256 * MIB)) as instance:
        instance.wait_ready(READY_S)
        own_kernel = any(phase.name == "kernel" for phase in instance.phases())

        def reading() -> int:
            return _used_inside(instance) if own_kernel else gauges.pss_bytes(instance.pids())

        before = reading()
        done = sh(instance, HOLD, str(PLANTED_BYTES))
        assert done.exit_code == 0, done.stderr
        risen = reading() - before
    assert abs(risen - PLANTED_BYTES) < 0.02 * PLANTED_BYTES + MIB


def _used_inside(instance: Instance) -> int:
    text = instance.run(["cat", "/proc/meminfo"], RUN_S).stdout.decode()
    fields = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}
    return (fields["MemTotal"] - fields["MemAvailable"]) * 1024


def test_pids_are_complete(runtime: Runtime, spec: Specs) -> None:
    before = descendants(os.getpid())
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        sh(instance, "sleep 100 >/dev/null 2>&1 &")
        assert instance.pids() == descendants(os.getpid()) - before
        assert instance.pids()


def test_cpu_time_is_charged_to_the_box(runtime: Runtime, spec: Specs) -> None:
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        used_s, elapsed_s = _spin(instance)
    assert LEAST_SPIN_S < used_s < 1.1 * elapsed_s + 0.05


def test_nothing_is_left_behind(runtime: Runtime, spec: Specs, traces: Traces, home: Path, mark: str) -> None:
    for _ in range(3):
        with runtime.start(spec()) as instance:
            instance.wait_ready(READY_S)
            sh(instance, "sleep 100 >/dev/null 2>&1 &")
    assert Traces.of(home / "scratch" / mark, mark) == traces
    assert list(runtime.sweep(lambda name: not name.startswith(mark))) == []


def test_stopping_twice_is_harmless(runtime: Runtime, spec: Specs) -> None:
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        instance.stop()
        instance.stop()


def test_leaving_before_it_is_ready_is_clean(
    runtime: Runtime, spec: Specs, traces: Traces, home: Path, mark: str
) -> None:
    with runtime.start(spec()):
        pass
    assert Traces.of(home / "scratch" / mark, mark) == traces


def test_two_at_once_do_not_meet(runtime: Runtime, spec: Specs) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(runtime.start(spec())) for _ in range(2))
        for instance in (first, second):
            instance.wait_ready(READY_S)
        assert not first.pids() & second.pids()
        sh(first, 'echo mine >"$TARE_TMP/note"')
        assert sh(second, 'cat "$TARE_TMP/note"').exit_code != 0
        assert sh(first, 'cat "$TARE_TMP/note"').stdout == b"mine\n"


def test_a_checkpoint_is_brought_back_as_often_as_wanted(
    runtime: Runtime, spec: Specs, traces: Traces, home: Path, mark: str, tmp_path: Path
) -> None:
    require(runtime, Feature.CHECKPOINT)
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        sh(instance, 'echo kept >"$TARE_TMP/note"; sleep 1000 >/dev/null 2>&1 &')
        cast(Checkpointable, instance).checkpoint(tmp_path)
        assert not instance.pids()
    with ExitStack() as stack:
        boxes = [stack.enter_context(cast(Restorer, runtime).restore(spec(), tmp_path)) for _ in range(2)]
        for box in boxes:
            box.wait_ready(READY_S)
            assert sh(box, 'pidof sleep >/dev/null && cat "$TARE_TMP/note"').stdout == b"kept\n"
        sh(boxes[0], 'echo changed >"$TARE_TMP/note"')
        assert sh(boxes[1], 'cat "$TARE_TMP/note"').stdout == b"kept\n"
        assert boxes[0].pids() and not boxes[0].pids() & boxes[1].pids()
    assert Traces.of(home / "scratch" / mark, mark) == traces


def test_a_paused_box_stands_still_and_goes_on(runtime: Runtime, spec: Specs) -> None:
    require(runtime, Feature.PAUSE)
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        sh(instance, "while :; do :; done >/dev/null 2>&1 &")
        cast(Pausable, instance).pause()
        before_s = gauges.cpu_s(instance)
        time.sleep(0.5)
        after_s = gauges.cpu_s(instance)
        assert before_s is not None and after_s is not None and after_s - before_s < 0.1
        cast(Pausable, instance).resume()
        assert sh(instance, "echo on").stdout == b"on\n"


def test_a_box_that_is_asked_to_end_does(runtime: Runtime, spec: Specs, traces: Traces, home: Path, mark: str) -> None:
    require(runtime, Feature.SHUTDOWN)
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        cast(Haltable, instance).shut_down(RUN_S)
        assert not instance.pids()
        with pytest.raises(TrialFailed):
            sh(instance, "true")
    assert Traces.of(home / "scratch" / mark, mark) == traces


def test_a_box_killed_from_outside_is_a_failure(
    runtime: Runtime, spec: Specs, traces: Traces, home: Path, mark: str
) -> None:
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        for pid in instance.pids():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(TrialFailed):
            instance.run(["true"], RUN_S)
    assert Traces.of(home / "scratch" / mark, mark) == traces


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("while :; do sleep 1; done", TrialTimeout, "become ready"),
        ("echo hello >${TARE_PORT:-/dev/stdout}; while :; do sleep 1; done", TrialFailed, "instead of being ready"),
        ("exit 3", TrialFailed, "ended unexpectedly"),
    ],
    ids=["never ready", "rubbish", "ends"],
)
def test_an_agent_that_misbehaves_is_a_failure(
    runtime: Runtime, spec: Specs, first: First, home: Path, script: str, error: type[TrialFailed], says: str
) -> None:
    limit_s = 2.0 + 2 * first.ready_s  # a virtual machine takes a while to get to the agent at all
    image = images.build_tiny(home, name="misbehaving", script=script + "\n")
    with runtime.start(spec(prepared=runtime.prepare(image))) as instance, pytest.raises(error, match=says):
        instance.wait_ready(limit_s)


def test_everything_of_a_box_bears_its_name(runtime: Runtime, spec: Specs) -> None:
    wanted = spec()
    with runtime.start(wanted) as instance:
        instance.wait_ready(READY_S)
        assert instance.name == wanted.name
        group = instance.cgroup
        assert group is not None
        assert group.name == wanted.name
        assert wanted.name in cgroups.leftovers(wanted.name)
        assert all(wanted.name in str(path) for path in instance.disk_paths)


def test_the_host_reaches_what_listens_inside(runtime: Runtime, spec: Specs) -> None:
    require(runtime, Feature.NETWORK)
    wanted = spec(network="bridge")
    bench = Bench(start=lambda: runtime.start(wanted), spec=wanted, params={}, clock=time.monotonic, sleep=time.sleep)
    links = Path("/sys/class/net")
    before = len(list(links.iterdir()))
    with bench.start() as instance:
        instance.wait_ready(READY_S)
        began_s = time.monotonic()
        assert web.first_ok_s(web.serve(instance, bench), bench) > began_s
    give_up = time.monotonic() + 10.0
    while len(list(links.iterdir())) > before + 1:  # the kernel takes the box's own a moment later; a bridge may stay
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_the_agent_is_the_images_own(runtime: Runtime, spec: Specs) -> None:
    with runtime.start(spec()) as instance:
        instance.wait_ready(READY_S)
        assert sh(instance, f'cat "$TARE_ROOT{agent.AGENT}"').stdout.decode() == agent.script()

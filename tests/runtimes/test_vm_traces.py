"""Connections, and what is left when things end badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import images, kernels, marks
from harness.cgroups import leftovers
from harness.contract import Workspace
from harness.errors import Unsupported
from harness.model import Spec
from runtimes.vm import connection, driver, sweep
from tests.runtimes import unprivileged

pytestmark = pytest.mark.machine

RUN_S = 30.0

BOX = """
import signal, sys, time
from pathlib import Path
from harness import images
from harness.contract import Workspace
from harness.model import Spec
from runtimes.vm import driver

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
home, mark = Path(sys.argv[1]), sys.argv[2]
runtime = driver.tcg(Workspace(store=home, scratch=home / "scratch", mark=mark))
prepared = runtime.prepare(images.find(home, "tiny"))
with runtime.start(Spec(name=mark + "-0", prepared=prepared)) as box:
    print(*box.pids(), flush=True)
    time.sleep(600)
"""
"""A run that is killed while its box lives."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    images.build_tiny(home, kernels.provide(home))
    return home


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """Claimed like a run's, so that a sweep elsewhere on this host lets these boxes live."""
    with marks.claimed(marks.new_id()) as mark:
        yield mark


Workspaces = Callable[..., Workspace]


@pytest.fixture
def workspace(home: Path, mark: str) -> Workspaces:
    return lambda **options: Workspace(store=home, scratch=home / "scratch", mark=mark, options=options)


@pytest.mark.slow
def test_what_a_killed_run_left_is_swept_and_nothing_else(home: Path) -> None:
    boxes = home / "vm" / "emulator" / "boxes"
    boxes.mkdir(parents=True, exist_ok=True)
    run_ids = [marks.new_id() for _ in range(2)]
    with marks.claimed(run_ids[0]) as living, marks.claimed(run_ids[1]) as dying:
        with _spawn(home, living) as run, _spawn(home, dying) as victim:
            assert run.stdout and victim.stdout
            qemu, orphan = int(run.stdout.readline()), int(victim.stdout.readline())
            victim.kill()
            victim.wait()
            (boxes / f"{dying}-1.pid").touch()
            swept = list(sweep.sweep(boxes, lambda name: not name.startswith(dying)))
            assert swept[0] == f"ended the virtual machine {dying}-0 (process {orphan})"
            assert swept[1] == f"removed the cgroup {dying}-0"
            assert len(swept) == 4
            for sentence in swept[2:]:
                assert dying in sentence and not Path(sentence.removeprefix("removed ")).exists()
            assert list(sweep.sweep(boxes, lambda name: not name.startswith(dying))) == []
            assert (qemu, f"{living}-0") in sweep.running()
            run.send_signal(signal.SIGINT)
        assert (qemu, f"{living}-0") not in sweep.running()
        assert not leftovers(living)


def _spawn(home: Path, mark: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BOX, str(home), mark], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_a_strangers_qemu_is_never_ours() -> None:
    stranger = subprocess.Popen(
        ["qemu-system-x86_64", "-name", "guest=somebody", "-machine", "none", "-display", "none", "-monitor", "none"]
    )
    try:
        _wait_for_exec(stranger.pid)
        assert stranger.pid not in dict(sweep.running())
    finally:
        stranger.kill()
        stranger.wait()


def _wait_for_exec(pid: int) -> None:
    deadline_s = time.monotonic() + 10
    while b"qemu" not in Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < deadline_s:
        time.sleep(0.01)


@pytest.mark.slow
def test_both_accelerators_share_one_embedded_driver(home: Path, workspace: Workspaces) -> None:
    tcg, kvm = driver.tcg(workspace()), driver.kvm(workspace())
    image = images.find(home, "tiny")
    try:
        assert tcg.prepare(image) == kvm.prepare(image)
    finally:
        kvm.close()
        kvm.close()
    # The other's connection is still open.
    with tcg.start(Spec(name=workspace().name(0), prepared=tcg.prepare(image))) as box:
        assert box.pids()
    tcg.close()


def test_a_number_that_another_process_has_by_now_is_not_hit() -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        assert sweep.end(stranger.pid, "tare-gone-0") == ""
        assert stranger.poll() is None
        stranger.kill()
    assert sweep.end(stranger.pid, "tare-gone-0") == "", "gone altogether"


def test_another_users_box_is_theirs_to_sweep() -> None:
    argv = [connection.EMULATOR, "-c", "read _", "-name", "guest=tare-theirs-0,x"]
    for uid, seen in ((0, True), (unprivileged.UID, False)):
        with subprocess.Popen(argv, executable="/bin/sh", user=uid, stdin=subprocess.PIPE) as box:
            assert (box.pid in {pid for pid, _ in sweep.running()}) == seen
            box.kill()


def test_a_folder_of_somebody_elses_is_refused(workspace: Workspaces) -> None:
    support = driver.tcg(workspace(uri="qemu:///embed?root=/tmp/other")).probe()
    assert "embedded" in support.reason
    assert "leave the option uri out" in support.hint


@pytest.mark.slow
def test_the_embedded_driver_is_there_however_often_it_is_opened(workspace: Workspaces) -> None:
    for _ in range(30):
        link = connection.open_connection(workspace())
        assert link.alive
        link.close()


@pytest.mark.slow
def test_two_runs_at_once_have_an_embedded_driver_each(home: Path) -> None:
    """One store, two processes, two roots: neither sees the other's domains, and each box ends with its own."""
    with ExitStack() as stack:
        runs = []
        for _ in range(2):
            mark = stack.enter_context(marks.claimed(marks.new_id()))
            argv = [sys.executable, "-c", BOX, str(home), mark]
            run = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE))
            stack.callback(run.kill)
            runs.append((run, mark))
        pids = [int(run.stdout.readline()) for run, _ in runs if run.stdout]
        assert {name for _, name in sweep.running()} >= {f"{mark}-0" for _, mark in runs}
        assert len({*pids}) == 2
        runs[0][0].send_signal(signal.SIGINT)
        runs[0][0].wait(RUN_S)
        assert not Path(f"/proc/{pids[0]}").exists()
        assert Path(f"/proc/{pids[1]}").exists()
        runs[1][0].send_signal(signal.SIGINT)
        runs[1][0].wait(RUN_S)
    roots = list(Path(tempfile.gettempdir()).glob(f"*{connection.ROOT_SUFFIX}*"))
    assert not [path for path in roots if any(mark in path.name for _, mark in runs)]


@pytest.mark.slow
def test_capabilities_are_asked_once_per_host_not_per_process(home: Path, mark: str) -> None:
    code = (
        "import sys, time; from pathlib import Path; from harness.contract import Workspace; "
        "from runtimes.vm import driver; home = Path(sys.argv[1]); "
        "runtime = driver.tcg(Workspace(store=home, scratch=home, mark=sys.argv[2])); "
        "began = time.monotonic(); assert runtime.probe().available; print(time.monotonic() - began)"
    )
    took_s = [
        float(subprocess.run([sys.executable, "-c", code, str(home), mark], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert max(took_s[1:]) < 1.0, took_s


@pytest.mark.slow
def test_the_probe_tells_what_is_there(workspace: Workspaces) -> None:
    support = driver.tcg(workspace()).probe()
    assert support.available, support.reason
    assert support.emulated
    assert support.version.startswith("QEMU ") and ", libvirt " in support.version


def test_a_daemon_that_does_not_answer_is_unsupported(workspace: Workspaces, tmp_path: Path) -> None:
    support = driver.tcg(workspace(uri=f"qemu+unix:///system?socket={tmp_path}/none")).probe()
    assert not support.available
    assert "libvirt does not open qemu+unix" in support.reason
    assert support.hint


def test_a_long_temporary_folder_is_unsupported(
    workspace: Workspaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("deep" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(Unsupported, match="too long a path"):
        connection.open_connection(workspace(uri="test:///default?long"))
    assert list(long.iterdir()) == []


def test_no_qemu_is_unsupported(workspace: Workspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    support = driver.tcg(workspace()).probe()
    assert not support.available
    assert support.reason == "qemu-system-x86_64 is not installed"
    assert "apt-get install" in support.hint

"""Virtual machines through a daemon, which runs as root, knows other accounts and can die."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import images, kernels, marks
from harness.cgroups import leftovers
from harness.contract import Workspace
from harness.errors import TrialFailed, Unsupported
from harness.model import Spec, Support
from runtimes.vm import driver, sweep
from runtimes.vm.driver import VmRuntime
from tests.runtimes import libvirtd, sshd
from tests.runtimes.libvirtd import Daemon
from tests.runtimes.sshd import Server

pytestmark = [pytest.mark.machine, pytest.mark.slow]

READY_S = 60.0
RUN_S = 20.0
ROOT = Path(__file__).parents[2]
CONFORMANCE_S = 400.0
Specs = Callable[[VmRuntime], Spec]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="tare-libvirtd-"))
    with libvirtd.running(folder) as started:
        yield started
    shutil.rmtree(folder)


@pytest.fixture
def runtime(daemon: Daemon, home: Path, mark: str) -> Iterator[VmRuntime]:
    made = driver.tcg(Workspace(store=home, scratch=home / "scratch", mark=mark, options={"uri": daemon.uri}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def box_spec(home: Path, mark: str) -> Specs:
    image = images.build_tiny(home, kernels.provide(home))
    numbers = itertools.count()
    return lambda runtime: Spec(name=f"{mark}-{next(numbers)}", prepared=runtime.prepare(image), cpuset=(0,))


def test_a_box_starts_and_nobody_gets_our_files(runtime: VmRuntime, box_spec: Specs, home: Path) -> None:
    assert runtime.probe().available
    spec = box_spec(runtime)
    before = _snapshot(home)
    with runtime.start(spec) as box:
        box.wait_ready(READY_S)
        assert box.run(["echo", "hello"], RUN_S).stdout == b"hello\n"
        phases = {phase.name: phase for phase in box.phases()}
        assert list(phases) == ["create", "spawn", "kernel", "userspace"]  # no trace: firmware is in kernel
        assert box.cgroup is not None
        assert box.pids() <= set(box.cgroup.pids())
        assert _snapshot(home) == before
    assert _snapshot(home) == before
    assert not leftovers(spec.name)
    assert spec.name not in {name for _, name in sweep.running()}


def test_a_daemon_that_dies_takes_one_trial_with_it(
    daemon: Daemon, runtime: VmRuntime, box_spec: Specs, mark: str
) -> None:
    spec = box_spec(runtime)
    with pytest.raises(TrialFailed, match="libvirt did not end the box"), runtime.start(spec) as box:
        box.wait_ready(READY_S)
        daemon.kill()
        assert box.run(["true"], RUN_S).exit_code == 0  # QEMU is still there
    assert spec.name not in {name for _, name in sweep.running()}
    assert not leftovers(mark)
    with pytest.raises(Unsupported) as refused, runtime.start(spec):
        pass
    assert "is that daemon running" in refused.value.hint
    with libvirtd.running(daemon.folder), runtime.start(spec) as box:  # and once it is back, so are the boxes
        box.wait_ready(READY_S)


def test_it_conforms(daemon: Daemon) -> None:
    # QEMU is the daemon's child, so it is not looked for among ours: the test above finds it in its cgroup.
    words = [
        "-k",
        "tcg and not micro and not full and not bios and not pids_are_complete",
        f"--tare-option=tcg.uri={daemon.uri}",
    ]
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=CONFORMANCE_S, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 20


@pytest.fixture
def ssh(daemon: Daemon) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tare-sshd-"))
    with sshd.running(folder, daemon.socket) as server:
        yield server
    shutil.rmtree(folder)


def test_ssh_leads_to_a_daemon_on_this_host(ssh: Server, box_spec: Specs, home: Path, mark: str) -> None:
    options = {"uri": ssh.uri()}
    runtime = driver.tcg(Workspace(store=home, scratch=home / "scratch", mark=mark, options=options))
    assert runtime.probe().reason == ""
    spec = box_spec(runtime)
    with runtime.start(spec) as box:
        box.wait_ready(READY_S)
        assert box.run(["echo", "hello"], RUN_S).stdout == b"hello\n"
    runtime.close()
    assert not leftovers(spec.name)
    assert spec.name not in {name for _, name in sweep.running()}


def refused(uri: str, home: Path, mark: str) -> Support:
    """What the runtime says of a URI it cannot use, which must not take it long."""
    began_s = time.monotonic()
    runtime = driver.tcg(Workspace(store=home, scratch=home / "scratch", mark=mark, options={"uri": uri}))
    support = runtime.probe()
    runtime.close()
    assert time.monotonic() - began_s < 10
    assert not support.available
    return support


def test_a_key_that_is_not_known_is_refused_without_a_question(ssh: Server, home: Path, mark: str) -> None:
    support = refused(ssh.uri(key="stranger"), home, mark)
    assert "Permission denied" in support.reason
    assert f"ssh -o BatchMode=yes ssh://root@127.0.0.1:{ssh.port}" in support.hint


@pytest.mark.parametrize(
    ("uri", "reason", "hint"),
    [
        ("qemu+ssh://root@127.0.0.1:1/system", "Connection refused", "BatchMode"),
        ("qemu+tcp://127.0.0.1:1/system", "Connection refused", "is that daemon running"),
        ("qemu+unix:///system?socket=/nowhere", "No such file", "is that daemon running"),
        ("nonsense", "driver", "is that daemon running"),
    ],
)
def test_where_nothing_answers_the_reason_is_said_at_once(
    uri: str, reason: str, hint: str, home: Path, mark: str
) -> None:
    support = refused(uri, home, mark)
    assert reason in support.reason
    assert hint in support.hint


def test_a_daemon_that_does_not_see_our_files_is_refused(
    home: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on another host, whatever that host is called."""
    ours = Path(tempfile.mkdtemp(prefix="o-"))
    folder = Path(tempfile.mkdtemp(prefix="tare-libvirtd-"))
    monkeypatch.setattr(tempfile, "tempdir", str(ours))
    with libvirtd.running(folder, ours) as elsewhere:
        support = refused(elsewhere.uri, home, mark)
    assert "does not see this host's files" in support.reason
    assert "run tare on that host" in support.hint
    for path in (ours, folder):
        shutil.rmtree(path)


def _snapshot(home: Path) -> dict[Path, tuple[int, int, int, str]]:
    """Owner, group, mode and content of what boxes share: the store's disks, kernels and images, and /boot."""
    folders = (
        home / "vm" / "disks",
        home / "vm" / "kernels",
        home / "vm" / "initrds",
        home / "kernels",
        home / "trees",
    )
    shared = [path for folder in (*folders, Path("/boot")) for path in folder.rglob("*") if path.is_file()]
    assert len(shared) > 10
    return {path: (*_rights(path.stat()), _digest(path)) for path in shared}


def _rights(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_uid, stat.st_gid, stat.st_mode


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Virtual machines through a daemon, which runs as root, knows other accounts and can die."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import images, kernels, marks
from harness.cgroups import leftovers
from harness.contract import Workspace
from harness.errors import TrialFailed, Unsupported
from harness.model import Spec
from runtimes.vm import driver, sweep
from runtimes.vm.driver import VmRuntime
from tests.runtimes import libvirtd
from tests.runtimes.libvirtd import Daemon

pytestmark = [pytest.mark.machine, pytest.mark.slow]

READY_S = 60.0
RUN_S = 20.0
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
    with runtime.start(spec) as box:
        box.wait_ready(READY_S)
        assert box.run(["echo", "hello"], RUN_S).stdout == b"hello\n"
        phases = {phase.name: phase for phase in box.phases()}
        assert list(phases) == ["create", "spawn", "kernel", "userspace"]  # no trace: firmware is in kernel
        assert box.cgroup is not None
        assert box.pids() <= set(box.cgroup.pids())
        assert {path.stat().st_uid for path in _files(home)} == {0}
        assert {path.stat().st_uid for path in Path("/boot").rglob("*")} <= {0}
    assert {path.stat().st_uid for path in _files(home)} == {0}
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


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

"""The same container on hosts of other kinds, as far as this one can stand in for them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cgroups
from harness.cgroups import UNIFIED, Hierarchies, leftovers
from harness.contract import Workspace
from harness.errors import TrialFailed, Unsupported
from harness.model import Spec
from runtimes.container import probe as probing
from runtimes.container.driver import ContainerRuntime

pytestmark = pytest.mark.machine

SpecFactory = Callable[..., Spec]
HEAVY = ("dataclasses", "harness", "inspect", "json", "logging", "pathlib", "socket", "subprocess", "threading")


def pretend(monkeypatch: pytest.MonkeyPatch, host: Hierarchies) -> None:
    for module in (cgroups, probing):
        monkeypatch.setattr(module, "hierarchies", lambda: host)


@pytest.fixture
def v1_only(runtime: ContainerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = {key: path for key, path in cgroups.hierarchies().parents.items() if key != UNIFIED}
    if "freezer" not in parents:
        pytest.skip("this host has no v1 hierarchies")
    pretend(monkeypatch, Hierarchies("v1", parents, frozenset()))


@pytest.mark.usefixtures("v1_only")
def test_without_v2_it_starts_pauses_and_goes(runtime: ContainerRuntime, box: SpecFactory, mark: str) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        assert set(instance.cgroup.paths) == {"memory", "cpu", "cpuacct", "pids", "freezer"}
        assert len(instance.pids()) == 1
        instance.pause()
        with pytest.raises(TrialFailed, match="did not"):
            instance.run(["true"], timeout_s=0.2)
    assert leftovers(mark) == {}
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        instance.pause()
        instance.resume()
        assert instance.run(["echo", "back"], timeout_s=10).stdout == b"back\n"
    assert leftovers(mark) == {}


@pytest.mark.usefixtures("v1_only")
def test_without_v2_a_fork_bomb_goes_too(runtime: ContainerRuntime, box: SpecFactory, mark: str) -> None:
    with runtime.start(box(pids=200)) as instance:
        instance.wait_ready(10)
        with contextlib.suppress(TrialFailed):
            instance.run(["sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 0.5"], timeout_s=1)
    assert leftovers(mark) == {}


def test_missing_controllers_are_named_with_the_remedy(
    runtime: ContainerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, Hierarchies("v2", {UNIFIED: Path("/cg")}, frozenset({"cpu", "pids"})))
    support = runtime.probe()
    assert not support.available
    assert support.reason == "this host's cgroups do not limit memory, cpuset"
    assert support.hint == "hand them down: echo '+memory +cpuset' > /cg/cgroup.subtree_control"


def test_a_limit_without_its_controller_starts_nothing(
    runtime: ContainerRuntime, box: SpecFactory, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cgroups.hierarchies()
    if UNIFIED not in host.parents or "memory" in host.v2_controllers:
        pytest.skip("this host limits memory through v2")
    pretend(monkeypatch, Hierarchies("v2", {UNIFIED: host.parents[UNIFIED]}, frozenset()))
    with pytest.raises(Unsupported, match="no memory cgroup controller"), runtime.start(box()):
        pass
    assert leftovers(mark) == {}


def test_a_cgroup_tree_that_cannot_be_written_is_named(
    runtime: ContainerRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parents = dict.fromkeys(cgroups.ACCOUNTED, tmp_path / "nothing here")
    pretend(monkeypatch, Hierarchies("v1", parents, frozenset()))
    support = runtime.probe()
    assert not support.available
    assert "nothing here" in support.reason and "writable" in support.hint


def test_a_scratch_folder_no_overlay_can_write_to_is_named(mark: str) -> None:
    """/proc stands for every file system that cannot be an upper layer, or be written at all."""
    support = ContainerRuntime(Workspace(store=Path("/proc"), scratch=Path("/proc/tare"), mark=mark)).probe()
    assert not support.available
    assert "/proc/tare" in support.reason


def test_who_is_not_root_is_told_so(tmp_path: Path, runtime: ContainerRuntime) -> None:
    program = (
        "import os; os.setuid(65534);"
        "from pathlib import Path; from harness.contract import Workspace;"
        "from runtimes.container.driver import ContainerRuntime;"
        "s = ContainerRuntime(Workspace(store=Path('/'), scratch=Path('/'), mark='tare-x')).probe();"
        "print(s.available, s.hint)"
    )
    preload = "import runtimes.container.driver, importlib.metadata;"  # the interpreter may be in a folder of root's
    done = subprocess.run([sys.executable, "-c", preload + program], capture_output=True, text=True, check=True)
    assert done.stdout == "False run tare as root: sudo tare …\n"


def test_the_zygote_loads_next_to_nothing() -> None:
    root = Path(probing.__file__).parents[2]
    program = (
        f"import sys; sys.path.append({str(root)!r}); import runtimes.container.zygote;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    argv = [sys.executable, "-I", "-S", "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert "ctypes" in loaded
    assert not set(HEAVY) & set(loaded)

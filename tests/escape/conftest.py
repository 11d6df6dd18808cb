"""One box that holds the program of attempts, and the same program run outside, in namespaces to be thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from harness import images, marks
from harness.contract import Instance, Workspace
from harness.model import Image, Spec
from runtimes.container.driver import ContainerRuntime
from tests.escape import programs

INSIDE = "/.tare/attempts"

Attempt = Callable[..., str]


@pytest.fixture(scope="session")
def program() -> Iterator[Path]:
    """The attempts, where every user may execute them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        built = Path(folder, "attempts")
        programs.attempts(built)
        built.chmod(0o4755)  # one attempt is about the set-user-ID bit, and the others do not mind
        yield built


@pytest.fixture(scope="session")
def image(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The smallest image with the attempts added to its tree; its digests are not looked at here."""
    store = tmp_path_factory.mktemp("store")
    tiny = images.build_tiny(store)
    root = store / "with-attempts"
    shutil.copytree(tiny.root, root, symlinks=True)
    shutil.copy2(program, root / INSIDE.lstrip("/"))
    return msgspec.structs.replace(tiny, root=str(root))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    home = tmp_path_factory.mktemp("escape")
    with marks.claimed(marks.new_id()) as mark:
        yield Workspace(store=home / "store", scratch=home / "scratch", mark=mark)


@pytest.fixture(scope="module")
def runtime(workspace: Workspace) -> Iterator[ContainerRuntime]:
    runtime = ContainerRuntime(workspace)
    support = runtime.probe()
    if not support.available:  # no container, nothing to escape from; where there should be one, its own tests fail
        pytest.skip(support.reason)
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def spec(runtime: ContainerRuntime, workspace: Workspace, image: Image) -> Callable[[], Spec]:
    """A new box's Spec."""
    numbers, prepared = count(), runtime.prepare(image)
    return lambda: Spec(name=workspace.name(next(numbers)), prepared=prepared, network="loopback")


@pytest.fixture(scope="module")
def box(runtime: ContainerRuntime, spec: Callable[[], Spec]) -> Iterator[Instance]:
    """A box as everyone gets it: the default profile. Failed attempts leave nothing, so one serves all."""
    with runtime.start(spec()) as instance:
        instance.wait_ready(10)
        yield instance


@pytest.fixture(scope="module")
def inside(box: Instance) -> Attempt:
    """Makes an attempt in the box, below a shell: says "ok", the name of the error, or what killed it."""

    def attempt(name: str, argument: str = "") -> str:
        done = box.run(["sh", "-c", '"$0" "$@"; exit $?', INSIDE, name, argument], timeout_s=20)
        return done.stdout.decode().strip() if done.exit_code == 0 else f"exit {done.exit_code}"

    return attempt


@pytest.fixture(scope="session")
def outside(program: Path) -> Attempt:
    """Makes the same attempt as the host's root, in namespaces of its own so that nothing it does stays."""

    def attempt(name: str, argument: str = "", *, network: bool = False) -> str:
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc"]
        unshare += [] if network else ["--net"]
        argv = [*unshare, "sh", "-c", '"$0" "$@"; exit $?', os.fspath(program), name, argument]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout.strip() if done.returncode == 0 else f"exit {done.returncode}"

    return attempt

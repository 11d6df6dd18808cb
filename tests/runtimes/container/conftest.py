"""A built-in container runtime on this machine, and one small image for all its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from harness import images, marks
from harness.contract import Workspace
from harness.model import Image, Prepared, Spec
from runtimes.container.driver import ContainerRuntime

SpecFactory = Callable[..., Spec]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return images.build_tiny(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def mark() -> Iterator[str]:
    """Claimed like a run's, so that a sweep elsewhere on this host lets these boxes live."""
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@pytest.fixture
def workspace(tmp_path: Path, mark: str) -> Workspace:
    return Workspace(store=tmp_path / "store", scratch=tmp_path / "scratch", mark=mark)


@pytest.fixture
def runtime(workspace: Workspace) -> Iterator[ContainerRuntime]:
    runtime = ContainerRuntime(workspace)
    support = runtime.probe()
    if not support.available:
        pytest.skip(support.reason)
    yield runtime
    runtime.close()


@pytest.fixture
def prepared(runtime: ContainerRuntime, image: Image) -> Prepared:
    return runtime.prepare(image)


@pytest.fixture
def box(prepared: Prepared, workspace: Workspace) -> SpecFactory:
    """Makes specifications with names of their own: `box(memory_bytes=…)`."""
    numbers = count()

    def make(**changes: object) -> Spec:
        spec = Spec(name=workspace.name(next(numbers)), prepared=prepared)
        return msgspec.structs.replace(spec, **changes)

    return make

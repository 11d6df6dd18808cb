"""Every installed runtime, opened once; those whose own probe says no are skipped with its reason."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from harness import images, marks, registry
from harness.contract import Runtime
from harness.model import Image, Prepared, Spec
from harness.request import options_of
from harness.session import workspaces
from tests.conformance.watch import Traces

Specs = Callable[..., Spec]


PR_SET_CHILD_SUBREAPER = 36
FIRST_READY_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def subreaper() -> Iterator[None]:
    """Orphans of a box come to this process instead of init, so that the tests can count them.

    Not for longer: whoever else starts programs here relies on somebody collecting their orphans.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def image(home: Path) -> Image:
    return images.build_tiny(home)


@pytest.fixture(scope="session")
def mark() -> Iterator[str]:
    with marks.claimed(marks.new_id()) as mark:
        yield mark


QUICK = ("native", "container")
"""The others start for seconds each; plug-ins are taken to be like them."""


def _runtimes() -> Iterator[object]:
    for name in registry.names(registry.RUNTIMES):
        yield pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.fixture(scope="module", params=_runtimes())
def runtime(request: pytest.FixtureRequest, home: Path, mark: str) -> Iterator[Runtime]:
    name = str(request.param)
    options = options_of(request.config.getoption("--tare-option", []))  # not there where plug-ins are off
    workspace = workspaces(home, home / "scratch" / mark, mark, options)(name)
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    opened = registry.runtime(name, workspace)
    support = opened.probe()
    if not support.available:  # hardware or an engine that this host has not: what it says of it is another test's
        opened.close()
        pytest.skip(f"{name}: {support.reason}")
    yield opened
    opened.close()


class First(NamedTuple):
    """What came of the first box: what a runtime opens with it and keeps is there from then on."""

    prepared: Prepared
    ready_s: float


@pytest.fixture(scope="module")
def first(runtime: Runtime, image: Image, mark: str) -> First:
    prepared = runtime.prepare(image)
    began_s = time.monotonic()
    with runtime.start(Spec(name=f"{mark}-first-{runtime.name}", prepared=prepared)) as instance:
        instance.wait_ready(FIRST_READY_S)
        return First(prepared, time.monotonic() - began_s)


@pytest.fixture
def prepared(first: First) -> Prepared:
    return first.prepared


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def spec(prepared: Prepared, mark: str, numbers: Iterator[int]) -> Specs:
    """A new box's Spec; fields can be changed by keyword."""

    def make(**changes: Any) -> Spec:
        usual = Spec(name=f"{mark}-{next(numbers)}", prepared=prepared, cpuset=(0,))
        return msgspec.structs.replace(usual, **changes)

    return make


@pytest.fixture
def traces(prepared: Prepared, home: Path, mark: str) -> Traces:
    """What is there before a box starts, to compare with what is there after."""
    return Traces.of(home / "scratch" / mark, mark)

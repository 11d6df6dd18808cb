"""Stand-ins for time and machines: what the harness does with them can be known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from harness.cgroups import Cgroup
from harness.contract import Bench, Completed, Finding, Scenario, Workspace
from harness.errors import TrialFailed
from harness.model import (
    Better,
    Config,
    Feature,
    Image,
    Metric,
    Phase,
    Prepared,
    Sample,
    Spec,
    Support,
    Unit,
)

IMAGE = Image(name="tiny", digest="sha256:1", content_digest="sha256:2", content_bytes=3, layers=(), root="/nowhere")


class FakeInstance:
    """A box that is ready at once, or fails the way it is told to."""

    def __init__(self, name: str, fault: Exception | None) -> None:
        self.name = name
        self._fault = fault
        self.stopped = False

    @property
    def cgroup(self) -> Cgroup | None:
        return None

    @property
    def address(self) -> str | None:
        return None

    @property
    def disk_paths(self) -> Sequence[Path]:
        return ()

    def wait_ready(self, timeout_s: float) -> None:
        if self._fault is not None:
            raise self._fault

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return Completed(0, " ".join(argv).encode(), b"")

    def pids(self) -> frozenset[int]:
        return frozenset()

    def phases(self) -> Sequence[Phase]:
        return (Phase("create", 0.0, 1.0),)

    def documents(self) -> Mapping[str, str]:
        return {}

    def stop(self) -> None:
        self.stopped = True


class FakeRuntime:
    """Counts what it started and stopped; `fault` is raised while a box becomes ready."""

    def __init__(self, name: str = "fake", fault: Exception | None = None, support: Support | None = None) -> None:
        self.name = name
        self.fault = fault
        self.support = support or Support(available=True, features=(Feature.EXEC,))
        self.instances: list[FakeInstance] = []
        self.instance_type = FakeInstance

    def probe(self) -> Support:
        return self.support

    def prepare(self, image: Image) -> Prepared:
        return Prepared(image=image, artifacts=())

    @contextmanager
    def start(self, spec: Spec) -> Iterator[FakeInstance]:
        instance = self.instance_type(spec.name, self.fault)
        self.instances.append(instance)
        try:
            yield instance
        finally:
            instance.stop()

    def close(self) -> None:
        """Holds nothing."""

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        return ()


def workspace(tmp_path: Path, mark: str = "tare-test") -> Workspace:
    return Workspace(store=tmp_path, scratch=tmp_path / "scratch", mark=mark)


def scenario(name: str = "boot", measure: Callable[..., Iterator[Finding]] | None = None) -> Scenario:
    """A scenario of one metric; by default it waits for the box and finds 1.5 s."""

    def one_sample(bench: Bench) -> Iterator[Finding]:
        with bench.start() as instance:
            instance.wait_ready(1.0)
        yield Sample("boot.ready", 1.5)

    return Scenario(
        name=name,
        asks="?",
        metrics=(Metric(name="boot.ready", unit=Unit.SECONDS, better=Better.LOWER, meaning="planted"),),
        measure=measure or one_sample,
    )


def config(**changes: Any) -> Config:
    usual = Config(suite="test", scenarios=("boot",), runtimes=("native", "fake"), blocks=3, settle_s=0.0)
    return msgspec.structs.replace(usual, **changes)


def broken(message: str = "planted") -> TrialFailed:
    return TrialFailed(message, log="the box said this")

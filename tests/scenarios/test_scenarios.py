"""Every scenario: states its question, defines its metrics, and yields or explains each of them."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness import images, registry
from harness.contract import Absent, Bench, Instance, Runtime, Scenario, Workspace
from harness.model import Params, Phase, Sample, Spec

SCENARIOS = [registry.scenario(name) for name in registry.names(registry.SCENARIOS)]
MIB = 1 << 20


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[[Params], Bench]]:
    """A bench over the native runtime, which runs everywhere."""
    runtime: Runtime = registry.runtime(
        "native", Workspace(store=tmp_path, scratch=tmp_path / "scratch", mark="tare-test")
    )
    prepared = runtime.prepare(images.build_tiny(tmp_path))
    spec = Spec(name="tare-test-1", prepared=prepared, memory_bytes=64 * MIB)

    def make(params: Params) -> Bench:
        return Bench(
            start=lambda: runtime.start(spec), spec=spec, params=params, clock=time.monotonic, sleep=time.sleep
        )

    yield make
    runtime.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_metric_is_yielded_once_or_explained(scenario: Scenario, bench: Callable[[Params], Bench]) -> None:
    params = {name: values[0] for name, values in scenario.grid.items()} | (
        {"size": "small"} if "size" in scenario.grid else {}
    )
    findings = list(scenario.measure(bench(params)))
    named = [finding.metric for finding in findings]
    assert sorted(named) == sorted(metric.name for metric in scenario.metrics)
    for finding in findings:
        assert (isinstance(finding, Absent) and finding.reason) or (isinstance(finding, Sample) and finding.value >= 0)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_metric_says_what_it_counts(scenario: Scenario) -> None:
    assert scenario.asks.endswith("?")
    module = inspect.getmodule(scenario.measure)
    assert module is not None
    for metric in scenario.metrics:
        assert len(metric.meaning) > 20
        assert metric.name.startswith(f"{module.__name__.rpartition('.')[2]}.")
        assert not any(metric.name.endswith(unit) for unit in ("_s", "_ms", "_bytes", "_mb"))


def test_no_scenario_names_a_runtime() -> None:
    runtimes = {*registry.names(registry.RUNTIMES), "docker", "podman", "runc", "crun", "qemu", "libvirt"}
    for scenario in SCENARIOS:
        module = inspect.getmodule(scenario.measure)
        assert module is not None and module.__file__
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) == 1:
                assert node.value not in runtimes, f"{module.__file__}:{node.lineno}"


class Told:
    """A box that is ready at once and went through the phases that it is told."""

    def __init__(self, *names: str) -> None:
        self._phases = [Phase(name, number, number + 1.0) for number, name in enumerate(names)]

    def wait_ready(self, timeout_s: float) -> None:
        pass

    def phases(self) -> list[Phase]:
        return self._phases


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("create", "userspace"), "no such phase"),
        (("create", "spawn", "kernel", "userspace"), "is in boot.phase.kernel"),
    ],
)
def test_firmware_that_cannot_be_told_apart_is_not_said_to_be_missing(
    names: tuple[str, ...], why: str, bench: Callable[[Params], Bench]
) -> None:
    start = cast(Callable[[], AbstractContextManager[Instance]], lambda: nullcontext(Told(*names)))
    found = {one.metric: one for one in registry.scenario("boot").measure(replace(bench({}), start=start))}
    absent = found["boot.phase.firmware"]
    assert isinstance(absent, Absent) and why in absent.reason


def test_boot_phases_sum_to_ready(bench: Callable[[Params], Bench]) -> None:
    boot = registry.scenario("boot")
    values = {one.metric: one.value for one in boot.measure(bench({})) if isinstance(one, Sample)}
    phases = sum(value for name, value in values.items() if name.startswith("boot.phase."))
    assert abs(phases - values["boot.ready"]) < 0.01 * values["boot.ready"] + 0.0005

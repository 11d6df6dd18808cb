"""A box gets a network when its scenario needs one; a host that cannot give one costs that feature and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness import plan, registry, runner, session
from harness.contract import Completed, Runtime, Scenario, Workspace
from harness.errors import Unsupported
from harness.model import Feature, Outcome, Spec, Support
from tests import fakes


class Networked(fakes.FakeRuntime):
    """Notes which network each box was to have; may be unable to give one."""

    def __init__(self, able: bool = True) -> None:
        super().__init__(support=Support(available=True, features=(Feature.EXEC, Feature.NETWORK)))
        self.able = able
        self.networks: list[str] = []

        class Instance(fakes.FakeInstance):
            def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
                return Completed(0, fakes.IMAGE.content_digest.removeprefix("sha256:").encode() + b"  -\n", b"")

        self.instance_type = Instance

    @contextmanager
    def start(self, spec: Spec) -> Iterator[fakes.FakeInstance]:
        self.networks.append(spec.network)
        if spec.network != "none" and not self.able:
            raise Unsupported("no bridge here", hint="use another kernel")
        with super().start(spec) as instance:
            yield instance


def needing(network: bool) -> Scenario:
    made = fakes.scenario()
    return Scenario(
        name=made.name,
        asks=made.asks,
        metrics=made.metrics,
        measure=made.measure,
        needs=frozenset({Feature.NETWORK} if network else ()),
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Networked, Scenario], session.Session]:
    """A session over that runtime for that scenario."""

    def open_(runtime: Networked, scenario: Scenario) -> session.Session:
        def load(name: str, workspace: Workspace) -> Runtime:
            return runtime

        def find(name: str) -> Scenario:
            return scenario

        monkeypatch.setattr(registry, "runtime", load)
        monkeypatch.setattr(registry, "scenario", find)
        workspace = session.workspaces(tmp_path, tmp_path / "scratch", "tare-t", {})
        config = fakes.config(runtimes=("fake",), reference="fake")
        with session.opened(config, lambda _: fakes.IMAGE, workspace, "tare-t") as result:
            return result

    return open_


@pytest.mark.parametrize(("network", "kind"), [(True, "bridge"), (False, "none")])
def test_the_network_follows_from_what_the_scenario_needs(network: bool, kind: str) -> None:
    assert session.network_of(needing(network)) == kind


def test_the_first_box_with_a_network_is_started_before_anything_is_measured(
    opened: Callable[[Networked, Scenario], session.Session],
) -> None:
    runtime = Networked()
    result = opened(runtime, needing(True))
    assert runtime.networks == ["none", "bridge"]
    assert Feature.NETWORK in result.supports["fake"].features
    runtime = Networked()
    opened(runtime, needing(False))
    assert runtime.networks == ["none"]


def test_a_host_without_a_network_costs_the_feature_and_the_plan_says_so(
    opened: Callable[[Networked, Scenario], session.Session], capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = needing(True)
    result = opened(Networked(able=False), scenario)
    assert result.supports["fake"].available
    assert result.supports["fake"].features == (Feature.EXEC,)
    assert "no bridge here (use another kernel)" in capsys.readouterr().err
    skips = {step.skip for step in plan.plan(result.config, [scenario], result.supports, seed=1)}
    assert skips == {"fake has no network"}


def test_what_is_measured_has_it(opened: Callable[[Networked, Scenario], session.Session]) -> None:
    runtime, scenario = Networked(), needing(True)
    result = opened(runtime, scenario)
    config = msgspec.structs.replace(result.config, blocks=1, warmup_blocks=0)
    steps = plan.plan(config, [scenario], result.supports, seed=1)
    execution = runner.Execution(session=result, scenarios={scenario.name: scenario}, keep_log=lambda _: None)
    assert {trial.outcome for trial in execution.trials(steps)} == {Outcome.OK}
    assert set(runtime.networks[2:]) == {"bridge"}

"""One `tare run` from request to results folder: claim, prepare, write the header, measure, close."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

from harness import adaptive, doubts, host, log, marks, plan, registry, rerun, runner, session, store, taints
from harness.contract import Scenario
from harness.errors import UsageError
from harness.model import Config, Image, Outcome, Results, Run, ScenarioFacts, Step, Trial

RESUMABLE_FACTS = ("kernel", "cgroup_mode", "boot_id", "cpu_model")
"""Host facts that must be as they were for a run to be resumed."""

Progress = Callable[[Trial, int, int], None]
"""Told each trial with its number and the count of all."""


def scenarios_of(config: Config) -> list[Scenario]:
    return [registry.scenario(name) for name in config.scenarios]


def planned(config: Config, home: Path, seed: int) -> tuple[Step, ...]:
    """The flat list of what would run here and what would not, and why."""
    with marks.claimed(marks.new_id()) as mark, scratch_folder(home, mark) as scratch:
        workspace = session.workspaces(home, scratch, mark, config.options)
        _, supports = session.probe(session.wanted(config), workspace)
    return plan.plan(config, scenarios_of(config), supports, seed)


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One request and the folder its results go to. `previous` is what an interrupted run had measured already."""

    config: Config
    home: Path
    seed: int
    command: tuple[str, ...]
    run_id: str
    folder: store.RunFolder
    previous: Results | None = None

    def execute(self, progress: Progress) -> Sequence[str]:
        """Prepares, writes the header, measures. What was measured is kept, however it ends.

        Returns the runtimes that promised to work and could not be prepared.
        """
        scenarios = scenarios_of(self.config)
        try:
            with (
                marks.claimed(self.run_id) as mark,
                marks.measuring(self.run_id),
                scratch_folder(self.home, mark) as scratch,
                _terminable(),
            ):
                given = {side: rerun.image_of(config, self.home) for side, config in _sides(self.config).items()}
                workspace = session.workspaces(self.home, scratch, mark, self.config.options)
                boxed = partial(_image_for, given)
                with session.opened(self.config, boxed, workspace, mark) as opened:
                    self._write_header(opened, scenarios, given)
                    steps = plan.plan(self.config, scenarios, opened.supports, self.seed)
                    self._run(steps, opened, scenarios, progress)
                    return tuple(opened.lost)
        finally:
            self.folder.close()

    def _write_header(self, opened: session.Session, scenarios: Sequence[Scenario], given: Mapping[str, Image]) -> None:
        named = {image.name + side: image for side, image in given.items()}
        if self.previous is None:
            self.folder.write_run(_header(self, opened, scenarios, named))
            return
        for name, image in named.items():
            if self.previous.run.images[name].digest != image.digest:
                raise UsageError(f"image {name} has changed since run {self.run_id}", hint="start a new run instead")

    def _run(
        self, steps: Sequence[Step], opened: session.Session, scenarios: Sequence[Scenario], progress: Progress
    ) -> None:
        past = plan.Past(tuple(self.previous.trials) if self.previous else ())
        rule = adaptive.StopRule.of(opened.config, scenarios)
        if rule is not None:
            for trial in past.trials:
                rule.add(trial)
        todo = past.left(steps, repeat_tainted=opened.config.repeat_tainted) if past.trials else steps
        execution = runner.Execution(
            session=opened,
            scenarios={scenario.name: scenario for scenario in scenarios},
            keep_log=self._keep_log,
            senses=runner.Senses(witness=taints.HostWitness(opened.config.cpuset)),
            rule=rule,
            past=past,
        )
        done = len(past.trials)
        for number, trial in enumerate(execution.trials(todo), 1):
            self.folder.append(trial)
            progress(trial, number + done, len(todo) + done)

    def _keep_log(self, failure: runner.Failure) -> None:
        step, cell = failure.step, failure.step.cell
        place = "-".join(map(str, (step.block, step.position, step.attempt)))
        self.folder.write_log(f"{cell.scenario}-{cell.runtime}-{place}.log", failure.text)


def begin(config: Config, home: Path, seed: int, command: Sequence[str]) -> Campaign:
    """A new run; its folder is made now, so that a place that cannot be written to fails before anything else."""
    run_id = marks.new_id()
    folder = store.RunFolder.create(home, run_id)
    return Campaign(config=config, home=home, seed=seed, command=tuple(command), run_id=run_id, folder=folder)


def resume(previous: Results, home: Path) -> Campaign:
    """A run where it stopped: the same plan from the same seed, less what was measured (`plan.Past`)."""
    _check_same_host(previous)
    run = previous.run
    return Campaign(
        config=run.config,
        home=home,
        seed=run.seed,
        command=run.command,
        run_id=run.id,
        folder=store.RunFolder.reopen(Path(previous.path)),
        previous=previous,
    )


def _sides(config: Config) -> dict[str, Config]:
    """The requests a run carries out: its own, and that of its old side."""
    return {"": config, **({rerun.BASE: config.base} if config.base is not None else {})}


def _image_for(given: Mapping[str, Image], runtime: str) -> Image:
    return given[rerun.BASE if rerun.is_base(runtime) else ""]


def _header(
    campaign: Campaign, opened: session.Session, scenarios: Sequence[Scenario], named: Mapping[str, Image]
) -> Run:
    facts = host.describe() | {"harness_floor_s": runner.floor()}
    return Run(
        id=campaign.run_id,
        version=version("tare-bench"),
        started_at=log.now_utc(),
        command=campaign.command,
        seed=campaign.seed,
        host=facts,
        config=opened.config,
        supports=opened.supports,
        images=dict(named),
        scenarios=tuple(
            ScenarioFacts(name=scenario.name, asks=scenario.asks, metrics=scenario.metrics) for scenario in scenarios
        ),
        prepared=opened.prepared,
        digests_inside=opened.digests_inside,
        documents=opened.documents,
        warnings=tuple(map(str, doubts.doubts(facts))),
    )


def _check_same_host(previous: Results) -> None:
    facts = host.describe()
    changed = [key for key in RESUMABLE_FACTS if facts.get(key) != previous.run.host.get(key)]
    if changed:
        raise UsageError(
            f"run {previous.run.id} was measured under another {', '.join(changed)}", hint="start a new run instead"
        )


def failures(trials: Sequence[Trial]) -> int:
    return sum(trial.outcome in (Outcome.FAILED, Outcome.TIMEOUT) for trial in trials)


@contextmanager
def scratch_folder(home: Path, mark: str) -> Iterator[Path]:
    """The run's own folder for boxes; removed with it."""
    path = home / "scratch" / mark
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """A polite SIGTERM unwinds like Ctrl-C: the current box is torn down and what was measured is kept."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def sweep(home: Path) -> Iterator[str]:
    """Removes what dead runs left, runtime by runtime, then their folders; says what."""
    with marks.claimed(marks.new_id()) as mark, scratch_folder(home, mark) as scratch:
        workspace = session.workspaces(home, scratch, mark, {})
        for name in registry.names(registry.RUNTIMES):
            try:
                runtime = registry.runtime(name, workspace(name))
            except (ImportError, AttributeError) as error:  # a plug-in that names what it does not have
                yield f"{name} was left out: {error}"
                continue
            yield from runtime.sweep(marks.live)
            runtime.close()
        for path in sorted((home / "scratch").iterdir()):
            if not marks.live(f"{path.name}-0"):
                shutil.rmtree(path)
                yield f"removed folder {path}"
    yield from marks.forget_dead()

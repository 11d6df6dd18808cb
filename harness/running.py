"""`tare run` as a person sees it: progress on stderr, the verdicts on stdout, where everything went."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness import campaign, log, marks, paths, render, request, rerun, store
from harness.errors import TareError, UsageError
from harness.model import Outcome, Trial


def run(said: request.Said, seed: int | None, report: Path | None, rerun_base: str | None) -> int:
    """Measures a suite and reports; returns how many trials or preparations failed.

    `rerun_base` is the run to measure again beside.
    """
    config = request.resolve(said)
    _check_writable(report)
    if rerun_base is not None:
        home = paths.home()
        config = rerun.with_base(config, store.read(store.locate(home, rerun_base)), home)
    command = ("tare", *sys.argv[1:])
    return _carry_out(campaign.begin(config, paths.home(), request.seed_or_new(seed), command), report)


def resume(name: str, report: Path | None) -> int:
    """Goes on with an interrupted run; returns how many trials failed in all."""
    home = paths.home()
    _check_writable(report)
    folder = store.locate(home, name)
    if marks.live(f"{marks.PREFIX}{folder.name}-0"):
        raise UsageError(f"run {folder.name} is being measured by another process", hint="wait for it to end")
    return _carry_out(campaign.resume(store.read(folder), home), report)


def _carry_out(what: campaign.Campaign, report: Path | None) -> int:
    folder = what.folder.path
    try:
        with _progress() as progress:
            lost = what.execute(progress)
    except KeyboardInterrupt:
        if folder.exists():
            log.say(f"interrupted; what was measured is kept: tare run --resume {what.run_id}")
        raise
    render.render_apart([folder], [render.STDOUT, *([str(report)] if report else [])])
    if what.config.base is not None:
        log.say(f"old against new: tare compare {what.run_id}:@base {what.run_id}:@new")
    trials = store.read(folder).trials
    log.say(f"results: {folder}")
    if report:
        log.say(f"report:  {report.absolute()}")
    if all(trial.outcome is Outcome.SKIPPED for trial in trials):
        raise TareError("nothing could be measured: every step was skipped", hint="tare check says why, and what helps")
    return campaign.failures(trials) + len(lost)


def _check_writable(report: Path | None) -> None:
    """A report that cannot be written is an error now, not after the measurement."""
    if report is None:
        return
    render.for_suffix(str(report))
    existed = report.exists()
    try:
        with report.open("ab"):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {report}: {error.strerror}", hint="give another --report") from None
    if not existed:
        report.unlink()


class _progress:
    """A bar on a terminal, plain lines elsewhere. It is drawn between trials only: no thread runs while measuring."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._plain = not console.is_terminal

    def __enter__(self) -> campaign.Progress:
        self._bar.start()
        self._task = self._bar.add_task("measuring", total=None)
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, trial: Trial, number: int, count: int) -> None:
        words = _describe(trial)
        if trial.outcome is Outcome.OK and not self._plain:
            self._bar.update(self._task, description=words, completed=number, total=count, refresh=True)
        elif self._plain:
            log.say(f"[{number}/{count}] {words}")
        else:
            self._bar.console.print(f"[{number}/{count}] {words}", markup=False)


def _describe(trial: Trial) -> str:
    cell = trial.step.cell
    what = f"{cell.scenario} in {cell.runtime}{' (twin)' if cell.twin else ''}"
    if trial.outcome is not Outcome.OK:
        return f"{what}: {trial.outcome}: {trial.reason}"
    first = trial.samples[0]
    return f"{what}: {first.metric} {first.value:.6g} {'warm-up' if trial.step.warmup else ''}".rstrip()

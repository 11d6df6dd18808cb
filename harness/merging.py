"""Several sittings of the same request → one run, whose resamples draw sittings first.

A run speaks for one state of one host. Three sittings at different hours, or after a reboot each, speak for the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import gate, log, marks, store
from harness.errors import UsageError
from harness.gate import Side
from harness.model import Results, Trial


def merge(sittings: Sequence[Results], home: Path) -> Path:
    """Writes a run of all trials, blocks renumbered; the folder. What differs in what decides is refused, and named."""
    _check(sittings)
    run_id = marks.new_id()
    folder = store.RunFolder.create(home, run_id)
    try:
        first = sittings[0].run
        starts: dict[str, int] = {}
        block = 0
        for sitting in sittings:
            starts[sitting.run.id] = block
            for trial in sitting.trials:
                folder.append(_moved(trial, block))
            block += 1 + max((trial.step.block for trial in sitting.trials), default=-1)
        config = msgspec.structs.replace(first.config, blocks=sum(sitting.run.config.blocks for sitting in sittings))
        command = ("tare", "merge", *(sitting.run.id for sitting in sittings))
        folder.write_run(
            msgspec.structs.replace(
                first, id=run_id, started_at=log.now_utc(), command=command, config=config, sessions=starts
            )
        )
    finally:
        folder.close()
    return folder.path


def _moved(trial: Trial, by: int) -> Trial:
    return msgspec.structs.replace(trial, step=msgspec.structs.replace(trial.step, block=trial.step.block + by))


def _check(sittings: Sequence[Results]) -> None:
    if len(sittings) < 2 or len({sitting.run.id for sitting in sittings}) < len(sittings):
        raise UsageError("merging takes two different runs at least", hint="tare list runs")
    if any(sitting.run.sessions for sitting in sittings):
        raise UsageError("a merged run cannot be merged again", hint="merge the runs it was made of")
    for sitting in sittings[1:]:
        found = [one for one in gate.differences(Side(sittings[0]), Side(sitting)) if one.decides]
        if found:
            first = found[0]
            raise UsageError(
                f"{sitting.run.id} and {sittings[0].run.id} are not sittings of one experiment: "
                f"{first.what} is {first.new} and {first.old}",
                hint="compare them instead: tare compare",
            )

"""Whose a box is: the mark of a run on everything it makes in the kernel, and whether that run still lives.

Every box is called `tare-<run>-<n>`, and so are its cgroups, domains and folders. A run holds a lock on
`<run folder>/tare-<run>` while it lives; the kernel drops it however the process ends. What bears a mark without a
lock is left-over, and `tare sweep` removes it. The locks lie in one place per host, not per TARE_HOME, so that one
person's sweep never takes another's boxes for dead.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import log, paths
from harness.errors import UsageError

PREFIX = "tare-"
_MEASURING = "measuring"


def new_id() -> str:
    """A run's name: when it began, and four digits against a second one in the same second."""
    return f"{time.strftime('%y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def folder() -> Path:
    """Where this host's locks lie: /run/tare for root, a folder of the user's own for others."""
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or paths.home())
    path = Path("/run/tare") if os.geteuid() == 0 else own / "tare"
    paths.make_folder(path)
    return path


@contextmanager
def claimed(run_id: str) -> Iterator[str]:
    """Holds the mark of a run while the block runs; yields it. UsageError when another process holds it."""
    mark = PREFIX + run_id
    lock = folder() / mark
    with paths.locked(lock, wait=False) as free:
        if not free or not lock.exists():  # held, or given up by its holder this instant
            raise UsageError(f"run {run_id} is being measured by another process", hint="wait for it to end")
        try:
            yield mark
        finally:
            lock.unlink(missing_ok=True)


def live(name: str) -> bool:
    """Whether a box (or anything else) of that name belongs to a run that still lives."""
    lock = folder() / name.rsplit("-", 1)[0]
    if not lock.exists():
        return False
    with paths.locked(lock, wait=False) as free:
        return not free


@contextmanager
def measuring(run_id: str) -> Iterator[None]:
    """One run measures at a time: a second one on the same host would only measure the first. It waits, and says so."""
    lock = folder() / _MEASURING
    with paths.locked(lock, wait=False) as free:
        if free:
            lock.write_text(f"{run_id} (process {os.getpid()})")
            yield
            return
    log.say(f"waiting for run {lock.read_text()}, which is measuring on this host")
    with paths.locked(lock):
        lock.write_text(f"{run_id} (process {os.getpid()})")
        yield


def forget_dead() -> Iterator[str]:
    """Removes the locks of dead runs."""
    for lock in sorted(folder().glob(f"{PREFIX}*")):
        if not live(f"{lock.name}-0"):
            lock.unlink(missing_ok=True)
            yield f"removed lock {lock}"

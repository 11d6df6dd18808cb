"""What is known of boxes made by hand: a folder for each under the place of this host's locks, written before the box.

The folder's name is the box's, so two cannot have one name. Its `lock` is held by the box's owner: a record that says a
box runs while nobody holds the lock is of an owner that was killed, and its box went with it. `control` is
where the owner listens, `log` what a detached box has printed. A box that has ended stays known until it is removed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from harness import log, marks, paths
from harness.cgroups import Cgroup
from harness.errors import UsageError
from runtimes.container.wishes import Order

CREATED, RUNNING, EXITED, DEAD = "created", "running", "exited", "dead"
_CLAIM_S = 1.0


class Record(msgspec.Struct, kw_only=True):
    """A box, as `inspect` shows it. `mark` is on all that it has on the host."""

    name: str
    mark: str
    image: str
    digest: str
    command: tuple[str, ...]
    environment: dict[str, str]
    network: str
    ports: tuple[str, ...]
    limits: dict[str, Any]
    stop_signal: str
    remove: bool
    created_at: str
    status: str = CREATED
    pid: int = 0
    owner: int = 0
    address: str = ""
    cgroups: dict[str, str] = {}
    ended_at: str = ""
    exit_code: int | None = None
    oom_kills: int = 0

    @property
    def cgroup(self) -> Cgroup:
        return Cgroup(f"{self.mark}-1", {key: Path(path) for key, path in self.cgroups.items()})


def folder() -> Path:
    path = marks.folder() / "boxes"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def place(name: str) -> Path:
    return folder() / name


def new_record(order: Order, mark: str, stop_signal: str) -> Record:
    return Record(
        name=order.name,
        mark=mark,
        image=order.image.name,
        digest=order.image.digest,
        command=order.command.argv,
        environment=dict(order.command.environment),
        network=order.network,
        ports=tuple(map(str, order.ports)),
        limits={
            "memory_bytes": order.memory_bytes,
            "cpus": order.cpus,
            "pids": order.pids,
            "cpuset": order.cpuset,
            "read_only": order.command.read_only,
        },
        stop_signal=stop_signal,
        remove=order.remove,
        created_at=log.now_utc(),
    )


@contextmanager
def claimed(record: Record) -> Iterator[None]:
    """The name is the box's while the block runs; what is known of it stays only if the box has ended by then."""
    own = place(record.name)
    try:
        own.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(
            f"there is a box named {record.name!r} already", hint=f"choose another name, or: tare box rm {record.name}"
        ) from None
    try:
        with paths.locked(own / "lock"):
            save(record)
            yield
    finally:
        (own / "control").unlink(missing_ok=True)
        if record.remove or record.status != EXITED:
            shutil.rmtree(own, ignore_errors=True)


def save(record: Record) -> None:
    paths.write_atomically(place(record.name) / "state.json", msgspec.json.encode(record))


def find(name: str) -> Record:
    """UsageError with those there are."""
    if "/" not in name and (record := _read(place(name))) is not None:
        return record
    known = ", ".join(record.name for record in all_records())
    raise UsageError(f"no box named {name!r}", hint=f"there are: {known}" if known else "there is none: tare box run")


def find_running(name: str) -> Record:
    record = find(name)
    if record.status != RUNNING:
        raise UsageError(f"box {name} does not run: it is {record.status}", hint="tare box ps -a")
    return record


def all_records() -> list[Record]:
    found = (_read(path) for path in sorted(folder().iterdir()))
    return [record for record in found if record is not None]


def forget(name: str) -> None:
    shutil.rmtree(place(name), ignore_errors=True)


def sweep() -> Iterator[str]:
    """Forgets boxes whose owners were killed; what they had on the host bears a dead mark, and goes like a run's."""
    for path in sorted(folder().iterdir()):
        record = _read(path)
        if record is None or record.status == DEAD:
            shutil.rmtree(path, ignore_errors=True)
            yield f"removed box {path.name}"


def _read(path: Path) -> Record | None:
    """None for a folder whose owner died before it had said anything; one that is a moment old gets that moment."""
    state = path / "state.json"
    give_up_s = time.time() - _CLAIM_S
    while not state.exists():
        if not path.exists() or path.stat().st_mtime < give_up_s or _is_free(path):
            return None
        time.sleep(0.01)
    free = _is_free(path)  # asked first: an owner that ends meanwhile has said so before it let go
    record = msgspec.json.decode(state.read_bytes(), type=Record)
    if record.status != EXITED and free:
        record.status = DEAD
    return record


def _is_free(path: Path) -> bool:
    if not (path / "lock").exists():
        return False
    with paths.locked(path / "lock", wait=False) as free:
        return free

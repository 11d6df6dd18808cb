"""A box by hand from its order to its end, by the code that starts the boxes that are measured."""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from harness import log, marks
from harness.boxes import Attached
from harness.contract import Workspace
from harness.model import Prepared, Spec
from runtimes.container import attaching, boxstate, publishing
from runtimes.container.box import Box
from runtimes.container.boxstate import EXITED, RUNNING, Record
from runtimes.container.driver import ContainerRuntime
from runtimes.container.owner import Owner, shell_code
from runtimes.container.wishes import Order

BRIDGE = "tare-box"
"""One bridge for all boxes made by hand, so that they reach each other."""


def new_name() -> str:
    return f"box-{secrets.token_hex(3)}"


def own(order: Order, how: Attached, home: Path, started: Callable[[], None], *, detached: bool) -> int:
    """Makes the box, serves until it ends, takes it away. Returns its program's code as a shell would."""
    with ExitStack() as stack:
        listeners = stack.enter_context(publishing.listening(order.ports))
        mark = stack.enter_context(marks.claimed(marks.new_id()))
        record = boxstate.new_record(order, mark, order.image.stop_signal or "TERM")
        stack.enter_context(boxstate.claimed(record))
        place = boxstate.place(order.name)
        watch = stack.enter_context(selectors.DefaultSelector())
        owner = Owner(place / "control", watch)
        stack.callback(owner.close)
        attachment = stack.enter_context(attaching.attached(how, place / "log" if detached else None))
        runtime = stack.enter_context(_runtime(home, mark))
        spec = _spec(order, runtime.prepare(order.image), mark)
        stack.enter_context(attaching.held())
        box = stack.enter_context(runtime.execute(spec, order.command, attachment.streams))
        address = box.address or ""
        stack.enter_context(publishing.forwarding(order.ports, listeners, box.process.pid, address))
        attachment.started(watch)
        _note_start(record, box)
        started()
        with attaching.forwarding(_pass_on(box, detached), attachment.resize):
            owner.serve(
                box, lambda command, streams: runtime.join(box, spec, replace(command, hostname=order.name), streams)
            )
        attachment.finish()
        _note_end(record, box)
    return shell_code(record.exit_code)


@contextmanager
def _runtime(home: Path, mark: str) -> Iterator[ContainerRuntime]:
    scratch = home / "scratch" / mark
    scratch.mkdir(parents=True)
    runtime = ContainerRuntime(Workspace(store=home, scratch=scratch / "container", mark=mark), bridge=BRIDGE)
    try:
        yield runtime
    finally:
        runtime.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _spec(order: Order, prepared: Prepared, mark: str) -> Spec:
    return Spec(
        name=f"{mark}-1",
        prepared=prepared,
        cpuset=order.cpuset,
        cpus=order.cpus,
        memory_bytes=order.memory_bytes,
        pids=order.pids,
        network=order.network,
    )


def _pass_on(box: Box, detached: bool) -> Callable[[int], None]:
    """A detached owner is not the program's face: who ends the owner wants the box ended."""
    return lambda number: box.process.kill(signal.SIGKILL if detached else number)


def _note_start(record: Record, box: Box) -> None:
    record.status, record.pid, record.owner = RUNNING, box.process.pid, os.getpid()
    record.address = box.address or ""
    record.cgroups = {key: str(path) for key, path in box.cgroup.paths.items()}
    boxstate.save(record)


def _note_end(record: Record, box: Box) -> None:
    record.status, record.exit_code = EXITED, box.process.exit_code
    record.oom_kills, record.ended_at = box.cgroup.oom_kills(), log.now_utc()
    boxstate.save(record)

"""`tare box`: the life of a box by hand. Run, look, hold, end, forget; each in terms of what the other modules do."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from harness import images, log, paths
from harness.boxes import Attached, Wish
from harness.errors import TareError, TrialTimeout, UsageError
from harness.model import Image
from runtimes.container import boxstate, detaching, freezer, guests, making, wishes
from runtimes.container.boxstate import RUNNING, Record
from runtimes.container.owner import Reply, shell_code

_MIB = 1 << 20
_KILL_S = 15.0
_LOOK_S = 0.1


class Boxes:
    """See harness.boxes.Boxes."""

    def run(self, wish: Wish) -> int:
        _require_root()
        home = paths.home()
        name = wish.name or making.new_name()
        order = wishes.order(wish, images.find(home, wish.image), name)
        if not wish.detach:
            try:
                return making.own(order, wish.attached, home, lambda: None, detached=False)
            except TareError as error:
                return _refused(Reply.of(error))
        reply = detaching.detach(
            lambda started: making.own(order, wish.attached, home, started, detached=True), home / "boxes.log"
        )
        if reply.error:
            return _refused(reply)
        print(name)
        return 0

    def exec(self, name: str, command: Sequence[str], attached: Attached, detach: bool) -> int:
        record = boxstate.find_running(name)
        if freezer.is_frozen(record.cgroup):
            raise UsageError(f"box {name} is paused: nothing would run in it", hint=f"tare box unpause {name}")
        image = _image_of(record)
        joining = wishes.joining(attached, command, image, record.environment)
        return guests.run(record, joining, attached, wait=not detach)

    def ps(self, every: bool) -> str:
        rows: list[tuple[str, ...]] = [("NAME", "IMAGE", "STATUS", "PID", "ADDRESS", "PORTS", "COMMAND")]
        rows += [_row(record) for record in boxstate.all_records() if every or record.status == RUNNING]
        return _table(rows)

    def logs(self, name: str, follow: bool) -> Iterator[bytes]:
        record = boxstate.find(name)
        path = boxstate.place(record.name) / "log"
        if not path.exists():
            raise UsageError(f"box {name} prints to whoever started it", hint="only detached boxes have a log: run -d")
        with path.open("rb") as log:
            yield log.read()
            if follow and record.status == RUNNING:
                with contextlib.suppress(guests.JustEnded), guests.visiting(record) as owner:
                    while guests.outlasts(owner, _LOOK_S):
                        yield log.read()
            yield log.read()

    def inspect(self, name: str) -> str:
        record = boxstate.find(name)
        facts = msgspec.to_builtins(record) | {"paused": record.status == RUNNING and freezer.is_frozen(record.cgroup)}
        return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()

    def stats(self, names: Sequence[str]) -> str:
        running = [boxstate.find_running(name) for name in names] or [
            record for record in boxstate.all_records() if record.status == RUNNING
        ]
        rows = [("NAME", "MEMORY", "LIMIT", "CPU", "PROCESSES", "OOM KILLS")]
        return _table([*rows, *map(_usage, running)])

    def pause(self, name: str) -> None:
        freezer.freeze(boxstate.find_running(name).cgroup)

    def unpause(self, name: str) -> None:
        freezer.thaw(boxstate.find_running(name).cgroup)

    def stop(self, name: str, grace_s: float) -> None:
        """One that has ended is as wished. One that is paused is let go on: it could not even hear."""
        record = boxstate.find(name)
        if record.status != RUNNING:
            return
        with guests.visiting(record) as owner:
            freezer.thaw(record.cgroup)
            guests.send_signal(owner, signal_number(record.stop_signal))
            if guests.outlasts(owner, grace_s):
                guests.send_signal(owner, signal.SIGKILL)
                if guests.outlasts(owner, _KILL_S):
                    raise TrialTimeout(f"box {name} did not end within {_KILL_S:g} s of being killed")

    def kill(self, name: str, signal: str) -> None:
        number = signal_number(signal)
        with guests.visiting(boxstate.find_running(name)) as owner:
            guests.send_signal(owner, number)

    def remove(self, name: str, force: bool) -> None:
        record = boxstate.find(name)
        if record.status == RUNNING:
            if not force:
                raise UsageError(f"box {name} runs", hint=f"tare box stop {name}, or: tare box rm --force {name}")
            self.stop(name, 0.0)
        boxstate.forget(name)


def signal_number(said: str) -> int:
    """A number, or a name with or without its SIG."""
    if said.isdecimal() and int(said) in {int(number) for number in signal.valid_signals()}:
        return int(said)
    try:
        return int(signal.Signals[f"SIG{said.upper().removeprefix('SIG')}"])
    except KeyError:
        raise UsageError(f"there is no signal {said!r}", hint="e.g. TERM, SIGUSR1 or 9") from None


def _require_root() -> None:
    if os.geteuid() != 0:
        raise UsageError("boxes are made as root", hint="sudo tare box …")


def _refused(reply: Reply) -> int:
    log.say(f"tare: {reply.error}" + (f"\n      {reply.hint}" if reply.hint else ""))
    return reply.exit_code


def _image_of(record: Record) -> Image:
    """The image it was made of, even if the name means another one by now."""
    found = (image for image in images.stored(paths.home()) if image.digest == record.digest)
    return next(found, None) or images.find(paths.home(), record.image)


def _row(record: Record) -> tuple[str, ...]:
    status = record.status
    if status == RUNNING and freezer.is_frozen(record.cgroup):
        status = "paused"
    if record.exit_code is not None:
        status += f" ({shell_code(record.exit_code)})"
    pid = str(record.pid) if record.status == RUNNING else ""
    command = " ".join(record.command)
    return record.name, record.image, status, pid, record.address, " ".join(record.ports), command[:40]


def _usage(record: Record) -> tuple[str, ...]:
    cgroup = record.cgroup
    memory, cpu_s = cgroup.memory_bytes(), cgroup.cpu_s()
    return (
        record.name,
        "" if memory is None else f"{memory / _MIB:.1f} MiB",
        f"{record.limits['memory_bytes'] / _MIB:.0f} MiB",
        "" if cpu_s is None else f"{cpu_s:.2f} s",
        str(len(cgroup.pids())),
        str(cgroup.oom_kills()),
    )


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

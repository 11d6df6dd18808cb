"""Results on disk: a run is a folder with `run.json`, `trials.jsonl` and the logs of failed trials.

Trials are appended as they end, one line each, flushed to the kernel per trial and to the disk when the run ends:
a killed process loses nothing it measured, a power cut at most the last seconds. A last line cut short is tolerated
and noted; damage anywhere else is named, with its line. Read back are columns (`harness.columns`); the trials
themselves stay on the disk until somebody wants them.
"""

from __future__ import annotations

import errno
import gc
import itertools
import operator
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, overload

import msgspec

from harness import log, paths
from harness.columns import Columns, Trials
from harness.errors import UsageError
from harness.model import SCHEMA, Results, Run, Trial

RUN_FILE = "run.json"
TRIALS_FILE = "trials.jsonl"
_BATCH_BYTES = 1 << 20
_DECODER = msgspec.json.Decoder(Trial)


class RunFolder:
    """One run's folder, open for writing."""

    def __init__(self, path: Path, trials: IO[bytes]) -> None:
        self.path = path
        self._trials = trials
        self._encoder = msgspec.json.Encoder()

    @classmethod
    def create(cls, home: Path, run_id: str) -> RunFolder:
        """Makes the folder and opens its files, before anything is measured; UsageError when that cannot be."""
        path = home / "runs" / run_id
        try:
            path.mkdir(parents=True)
            return cls(path, (path / TRIALS_FILE).open("ab", buffering=0))
        except OSError as error:
            raise UsageError(
                f"cannot write results to {path}: {error.strerror}",
                hint="free space, or point TARE_HOME at a folder you may write to",
            ) from None

    @classmethod
    def reopen(cls, path: Path) -> RunFolder:
        """Opens a run to go on with it. A last line cut short is removed: that trial will be measured again."""
        trials = path / TRIALS_FILE
        data = trials.read_bytes()
        os.truncate(trials, data.rfind(b"\n") + 1)
        return cls(path, trials.open("ab", buffering=0))

    def write_run(self, run: Run) -> None:
        paths.write_atomically(self.path / RUN_FILE, msgspec.json.format(msgspec.json.encode(run), indent=1))

    def append(self, trial: Trial) -> None:
        """One line, handed to the kernel at once. A full disk is a TareError; what was written before stays."""
        line = self._encoder.encode(trial) + b"\n"
        try:
            written = self._trials.write(line)
        except OSError as error:
            raise paths.disk_full(self.path) if error.errno == errno.ENOSPC else error from None
        if written != len(line):  # the disk took part of it
            raise paths.disk_full(self.path)

    def write_log(self, name: str, text: str) -> Path:
        """A failed trial's log. On a full disk it is missing and the run goes on: trials matter more."""
        path = self.path / "logs" / name
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, errors="replace")
        except OSError as error:
            log.warn(f"the log {path} could not be written: {error.strerror}")
        return path

    def close(self) -> None:
        os.fsync(self._trials.fileno())
        self._trials.close()
        if not (self.path / RUN_FILE).exists():  # nothing was begun: leave no empty folder behind
            (self.path / TRIALS_FILE).unlink()
            self.path.rmdir()


def locate(home: Path, name: str) -> Path:
    """The folder of a run: its id, the last part of one, `latest`, or a path."""
    if Path(name).is_dir() and (Path(name) / RUN_FILE).exists():
        return Path(name)
    folders = list(run_folders(home))
    if name == "latest" and folders:
        return folders[-1]
    matching = [path for path in folders if path.name == name or path.name.endswith(f"-{name}")]
    if len(matching) == 1:
        return matching[0]
    if not folders:
        raise UsageError("there are no runs yet", hint="make one: tare run quick")
    raise UsageError(f"no run {name!r}", hint="tare list runs shows what there is")


def run_folders(home: Path) -> Iterator[Path]:
    """All complete run folders, oldest first."""
    for record in sorted((home / "runs").glob(f"*/{RUN_FILE}")):
        yield record.parent


@contextmanager
def many_objects() -> Iterator[None]:
    """While thousands of objects are made at a time, looking for garbage among them takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class StoredTrials(Trials):
    """The trials of a file, whole lines that were all looked at once: made anew each time they are asked for."""

    def __init__(self, file: Path) -> None:
        self.columns = Columns()
        self._file = file
        self._begins, self._ends = array("q"), array("q")
        self._size = 0

    def take(self, lines: Sequence[bytes], trials: Sequence[Trial]) -> None:
        """Lines that follow those that were taken or skipped before, and what they say."""
        bounds = list(itertools.accumulate(map(len, lines), initial=self._size))
        self._begins.extend(bounds[:-1])
        self._ends.extend(bounds[1:])
        self._size = bounds[-1]
        self.columns.extend(trials)

    def skip(self, line: bytes) -> None:
        self._size += len(line)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Trial]:
        return self._between(0, len(self))

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Trial, ...]: ...
    def __getitem__(self, index: int | slice) -> Trial | tuple[Trial, ...]:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            return tuple(self._between(first, last))[::step] if step > 0 else tuple(self)[index]
        place = range(len(self))[index]
        return next(self._between(place, place + 1))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == len(self) and all(map(operator.eq, self, other))

    def _between(self, first: int, last: int) -> Iterator[Trial]:
        try:
            with self._file.open("rb") as opened:
                for begin, end in zip(self._begins[first:last], self._ends[first:last], strict=True):
                    if opened.tell() != begin:
                        opened.seek(begin)
                    yield _DECODER.decode(opened.read(end - begin))
        except (OSError, msgspec.DecodeError):
            raise UsageError(f"{self._file} has changed since it was read", hint="run this command again") from None


def read(path: Path) -> Results:
    """Reads a run back; UsageError that names the file, and the line, when it cannot be read."""
    with many_objects():
        return _read(path)


def _read(path: Path) -> Results:
    run = read_run(path)
    file = path / TRIALS_FILE
    trials, notes = StoredTrials(file), []
    if not file.exists():
        notes.append(f"{TRIALS_FILE} is missing: there is a header and not one trial")
    elif not _take_all(trials, file):
        notes.append(f"the last line of {TRIALS_FILE} was cut short: one trial is lost")
    return Results(run=run, trials=trials, path=str(path), notes=tuple(notes))


def _take_all(trials: StoredTrials, file: Path) -> bool:
    """Whether the last line is whole. Some thousand lines at a time: their objects make room for those that follow."""
    done = 0
    with file.open("rb") as opened:
        while lines := opened.readlines(_BATCH_BYTES):
            try:
                trials.take(lines, [_DECODER.decode(line) for line in lines])
            except msgspec.DecodeError:
                damaged = _take_each(trials, lines)
                if damaged is not None:
                    number, error = damaged
                    if number == len(lines) and not opened.peek(1):
                        return False
                    raise UsageError(
                        f"{file}, line {done + number} cannot be read: {error}",
                        hint="the file was damaged after it was written: restore it, or delete that line knowingly",
                    ) from None
            done += len(lines)
    return True


def _take_each(trials: StoredTrials, lines: Sequence[bytes]) -> tuple[int, str] | None:
    """One by one, over empty lines; the first that cannot be read, counted from one, and why."""
    for number, line in enumerate(lines, 1):
        if line == b"\n":
            trials.skip(line)
            continue
        try:
            trials.take([line], [_DECODER.decode(line)])
        except msgspec.DecodeError as error:
            return number, str(error)
    return None


def read_run(path: Path) -> Run:
    """The header alone; UsageError that names the file when it cannot be read."""
    file = path / RUN_FILE
    try:
        data = file.read_bytes()
        schema = msgspec.json.decode(data, type=dict).get("schema", "")
    except FileNotFoundError:
        raise UsageError(f"{file.parent} is not a run: it has no {RUN_FILE}", hint="tare list runs") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}", hint="the file is damaged: restore it") from None
    _check_schema(str(schema), file)
    try:
        return msgspec.json.decode(data, type=Run)
    except msgspec.ValidationError as error:
        raise UsageError(f"{file} does not fit its schema: {error}", hint="the file was edited: restore it") from None


def _check_schema(schema: str, file: Path) -> None:
    ours, _, our_version = SCHEMA.partition("/")
    name, _, version = schema.partition("/")
    if name != ours or not version.partition(".")[0].isdigit():
        raise UsageError(f"{file} is not a result of tare (schema {schema!r})")
    if int(version.partition(".")[0]) > int(our_version.partition(".")[0]):
        raise UsageError(f"{file} has schema {schema}, newer than this tare reads ({SCHEMA})", hint="update tare")

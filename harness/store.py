"""Results on disk: a run is a folder with `run.json`, `trials.jsonl` and the logs of failed trials.

Trials are appended as they end, one line each, flushed to the kernel per trial and to the disk when the run ends:
a killed process loses nothing it measured, a power cut at most the last seconds. A last line cut short is tolerated
and noted; damage anywhere else is named, with its line.
"""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from harness import log, paths
from harness.errors import UsageError
from harness.model import SCHEMA, Results, Run, Trial

RUN_FILE = "run.json"
TRIALS_FILE = "trials.jsonl"


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
    """While a million objects are made that all stay, looking for garbage among them takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read(path: Path) -> Results:
    """Reads a run back; UsageError that names the file, and the line, when it cannot be read."""
    with many_objects():
        return _read(path)


def _read(path: Path) -> Results:
    run = _read_run(path / RUN_FILE)
    trials: list[Trial] = []
    notes: list[str] = []
    decoder = msgspec.json.Decoder(Trial)
    file = path / TRIALS_FILE
    if not file.exists():
        notes.append(f"{TRIALS_FILE} is missing: there is a header and not one trial")
    size, done = (file.stat().st_size, 0) if file.exists() else (0, 0)
    for number, line in enumerate(_lines(file), 1):
        done += len(line)
        if line == b"\n":
            continue
        try:
            trials.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            if done == size:
                notes.append(f"the last line of {TRIALS_FILE} was cut short: one trial is lost")
                break
            raise UsageError(
                f"{file}, line {number} cannot be read: {error}",
                hint="the file was damaged after it was written: restore it, or delete that line knowingly",
            ) from None
    return Results(run=run, trials=tuple(trials), path=str(path), notes=tuple(notes))


def _lines(file: Path) -> Iterator[bytes]:
    """A line at a time: the text of a large file would be as large as what is made of it."""
    if file.exists():
        with file.open("rb") as opened:
            yield from opened


def _read_run(file: Path) -> Run:
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

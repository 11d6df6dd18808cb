"""Where things are kept: `$TARE_HOME`, and how a file gets there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import TareError, UsageError


def home() -> Path:
    """`$TARE_HOME`, by default /var/lib/tare for root and ~/.local/share/tare for others; made when missing."""
    default = "/var/lib/tare" if os.geteuid() == 0 else "~/.local/share/tare"
    path = Path(os.environ.get("TARE_HOME") or default).expanduser().absolute()
    make_folder(path)
    return path


def make_folder(path: Path) -> None:
    """Makes a folder of ours when it is missing; UsageError when it cannot be made or written to."""
    hint = "point TARE_HOME at a folder you may write to"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot keep anything in {path}: {error.strerror}", hint=hint) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"cannot keep anything in {path}: it may not be written to", hint=hint)


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `target` that becomes `target` when the block ends well, and else vanishes.

    A half-written cache entry is therefore never seen. When another process was faster its entry stays.
    A full disk is a TareError that names it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)
        draft.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return
        if error.errno == errno.ENOSPC:
            raise disk_full(target.parent) from None
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_atomically(target: Path, data: bytes) -> None:
    """Replaces a file in one step; its old content stays until the new one is complete."""
    draft = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise disk_full(target.parent) from None
        raise


def disk_full(folder: Path) -> TareError:
    return TareError(
        f"no space left on the disk that holds {folder}", hint="free some, or point TARE_HOME at another disk"
    )


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock on a file while the block runs; yields False when `wait` is off and another holds it.

    The lock goes with the process, however it ends.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)

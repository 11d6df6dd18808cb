"""The files and folders of a cgroup, without the layers Python puts over files: a start writes a dozen of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write(path: str | Path, text: str) -> None:
    """One write and no text layer: pathlib's takes five times as long."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def write_if_there(path: Path, text: str) -> bool:
    """False if this kernel has no such file."""
    try:
        write(path, text)
    except FileNotFoundError:
        return False
    return True


def remove(path: Path) -> bool:
    """Whether that folder is gone; one that has members stays."""
    try:
        path.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY):
            raise
        return error.errno == errno.ENOENT
    return True


def flat(path: Path) -> dict[str, int]:
    """A flat-keyed file: `name number` a line."""
    pairs = (line.rsplit(" ", 1) for line in path.read_text().splitlines())
    return {name: int(number) for name, number in pairs}

"""An image as it lies outside the store: its layers, its configuration, and the shelf its files are taken from.

A shelf opens everything with its own folder as `/`: no path in a document and no link can name a file of this host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from harness.errors import UsageError
from harness.packed import Limits
from harness.tarstream import refused
from harness.within import IN_ROOT, NO_MAGIC_LINKS, clean, openat2


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayer:
    """One layer where it lies. What is not known beforehand (a root file system has no digests) is empty."""

    open: Callable[[], BinaryIO]
    compression: str
    digest: str = ""
    size_bytes: int | None = None
    diff_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An image before it is in the store. `config` is its own configuration document, whole."""

    layers: Sequence[SourceLayer]
    config: dict[str, Any] = field(default_factory=dict)


class Shelf:
    """The files of one folder, opened with that folder as `/`."""

    def __init__(self, root: int, limits: Limits) -> None:
        self._root = root
        self.limits = limits

    def has(self, path: str) -> bool:
        try:
            self.open(path).close()
        except UsageError:
            return False
        return True

    def open(self, path: str) -> BinaryIO:
        """A regular file. UsageError when it is missing, something else, or named by a path that climbs."""
        parts = clean(os.fsencode(path), self.limits)
        try:
            fd = openat2(self._root, b"/".join(parts), os.O_RDONLY | os.O_NONBLOCK, IN_ROOT | NO_MAGIC_LINKS)
        except OSError as error:
            raise refused(f"names {path[:200]!r}, which is not there ({error.strerror})") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise refused(f"names {path[:200]!r}, which is no file")
        return os.fdopen(fd, "rb")

    def read(self, path: str) -> bytes:
        """A whole document, of a size that documents have."""
        with self.open(path) as file:
            data = file.read(self.limits.document_bytes + 1)
        if len(data) > self.limits.document_bytes:
            raise refused(f"has a {path[:200]} of more than {self.limits.document_bytes >> 20} MiB")
        return data

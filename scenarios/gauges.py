"""Host-side readings of a box: proportional memory, charged memory, CPU time, bytes on disk.

All read the kernel's own files; none asks the runtime. A process that ends while it is read counts as not there.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from harness.contract import Instance

_BLOCK_BYTES = 512
_CHUNK_BYTES = 1 << 20
_GUEST_MEMORY = "/memfd:"
"""Guests are backed by a named memory file, so that theirs can be told from the monitor's."""


def pss_bytes(pids: Iterable[int]) -> int:
    """Sum of the proportional set sizes: shared pages are divided among those who share them (smaps_rollup)."""
    return sum(_rollup(pid).get("Pss", 0) for pid in pids)


def _rollup(pid: int) -> dict[str, int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        fields = (line.split() for line in lines)
        return {name.rstrip(":"): int(kib) * 1024 for name, kib, *_ in fields}
    return {}


def cpu_s(instance: Instance) -> float:
    """CPU seconds the host has spent on the box: its cgroup's account, else the clocks of its processes.

    The latter miss processes that have ended, so they serve only runtimes without a cgroup and for long-lived ones.
    """
    group = instance.cgroup
    used_s = group.cpu_s() if group is not None else None
    return used_s if used_s is not None else sum(_process_cpu_s(pid) for pid in instance.pids())


def _process_cpu_s(pid: int) -> float:
    """The CPU clock of another process, threads included: `(~pid << 3) | 2`, as clock_getcpuclockid(3) makes it."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def files(path: Path) -> Iterator[os.stat_result]:
    """Every file at or below a path, each once, links not followed."""
    with contextlib.suppress(FileNotFoundError):
        if not path.is_dir() or path.is_symlink():
            yield path.lstat()
            return
        for folder, _, names in os.walk(path):
            yield Path(folder).lstat()
            yield from (Path(folder, name).lstat() for name in names)


def apparent_bytes(path: Path) -> int:
    """What the regular files claim to hold."""
    return sum(stat.st_size for stat in files(path) if S_ISREG(stat.st_mode))


def allocated_bytes(path: Path) -> int:
    """What they occupy on this disk."""
    return sum(stat.st_blocks * _BLOCK_BYTES for stat in files(path))


def compressed_bytes(path: Path) -> int:
    """The size of a file after zlib level 6, as gzip would ship it; streamed, so a large disk needs no memory."""
    packer = zlib.compressobj(6)
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


@dataclass(frozen=True, slots=True)
class Mapping:
    """A part of a process's address space, by its proportional size."""

    name: str
    permissions: str
    pss_bytes: int


def mappings(pids: Iterable[int]) -> list[Mapping]:
    """Every mapping of these processes (smaps)."""
    return [mapping for pid in pids for mapping in _mappings(pid)]


def guest_resident_bytes(found: Iterable[Mapping]) -> int | None:
    """Resident bytes of the mapping that is a guest's memory, known by its name; None when there is none."""
    return max((one.pss_bytes for one in found if one.name.startswith(_GUEST_MEMORY)), default=None)


def generated_bytes(found: Iterable[Mapping]) -> int | None:
    """What holds code that was made at run time, such as a translated guest's; None when there is none."""
    sizes = [one.pss_bytes for one in found if one.permissions.startswith("rwx")]
    return sum(sizes) if sizes else None


def file_bytes(found: Iterable[Mapping]) -> int:
    """What maps files of the host's: programs and libraries, paid for by all who map them."""
    return sum(one.pss_bytes for one in found if one.name.startswith("/") and not one.name.startswith(_GUEST_MEMORY))


def _mappings(pid: int) -> Iterator[Mapping]:
    name = permissions = ""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if "-" in fields[0]:
                permissions, name = fields[1], fields[5] if len(fields) > 5 else ""
            elif fields[0] == "Pss:":
                yield Mapping(name, permissions, int(fields[1]) * 1024)

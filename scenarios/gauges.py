"""Host-side readings of a box: proportional memory, charged memory, CPU time, bytes on disk.

All read the kernel's own files; none asks the runtime. A process that ends while it is read counts as not there.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from harness.contract import Counted, Counts, Instance

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


def cpu_s(instance: Instance) -> float | None:
    """CPU seconds the host has spent on the box, by its cgroup's account; None when nothing keeps one.

    The clocks of its processes are no substitute: they forget what has ended, which is all of the work.
    """
    group = instance.cgroup
    return group.cpu_s() if group is not None else None


def counts(instance: Instance) -> Counts | None:
    """What the host counts of the box's virtual CPUs; None for a box without."""
    return instance.counts() if isinstance(instance, Counted) else None


def files(path: Path) -> Iterator[os.stat_result]:
    """Every file at or below a path, each once however many names it has, links not followed."""
    seen = set[tuple[int, int]]()
    with contextlib.suppress(FileNotFoundError):
        if not path.is_dir() or path.is_symlink():
            yield path.lstat()
            return
        for folder, _, names in os.walk(path):
            yield Path(folder).lstat()
            for name in names:
                stat = Path(folder, name).lstat()
                if stat.st_nlink == 1 or (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    yield stat


def apparent_bytes(path: Path) -> int:
    """What the regular files claim to hold."""
    return sum(stat.st_size for stat in files(path) if S_ISREG(stat.st_mode))


def allocated_bytes(path: Path) -> int:
    """What they occupy on this disk."""
    return sum(stat.st_blocks * _BLOCK_BYTES for stat in files(path))


def compressed_bytes(path: Path) -> int:
    """The size of a file's data after zlib level 6, as gzip would ship it; streamed, so a large disk needs no memory.

    Holes do not travel: a tool that ships disks leaves them out, and how many there are is a matter of headroom.
    """
    packer = zlib.compressobj(6)
    size = 0
    with path.open("rb") as file:
        for began, ended in _extents(file.fileno()):
            file.seek(began)
            while began < ended and (chunk := file.read(min(_CHUNK_BYTES, ended - began))):
                began += len(chunk)
                size += len(packer.compress(chunk))
    return size + len(packer.flush())


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, from the file system (lseek(2), SEEK_DATA)."""
    end = 0
    while True:
        try:
            began = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: no data behind this point
            return
        end = os.lseek(descriptor, began, os.SEEK_HOLE)
        yield began, end


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
    """What maps files of the host's: programs and libraries, paid for by all who map them, and what it has changed of
    its own copy of their data."""
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

"""What a box may leave on the host, as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import cgroups, marks


@dataclass(frozen=True, slots=True)
class Traces:
    """A reading of everything a box could leave behind: equal before and after, or something leaked."""

    processes: frozenset[int]
    cgroups: tuple[str, ...]
    mounts: str
    namespaces: frozenset[str]
    descriptors: int
    links: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def of(cls, scratch: Path, mark: str) -> Traces:
        processes = descendants(os.getpid())
        return cls(
            processes=processes,
            cgroups=tuple(sorted(cgroups.leftovers(mark))),
            mounts=Path("/proc/self/mountinfo").read_text(),
            namespaces=frozenset(name for pid in processes for name in _namespaces(pid)),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            links=tuple(sorted(_links(mark))),
            files=tuple(sorted(_files(scratch))),
        )


def _links(mark: str) -> Iterator[str]:
    """But for the bridges of other runs at this moment, and what is a port of them."""
    for path in Path("/sys/class/net").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run's: it has gone just now
            bridge = path / "master" if (path / "master").exists() else path
            alias = (bridge / "ifalias").read_text().strip()
            if not alias.startswith(marks.PREFIX) or alias == mark:
                yield path.name


def descendants(root: int) -> frozenset[int]:
    """Every process below this one. A daemonised one is among them when this process is a subreaper."""
    found, todo = set[int](), [root]
    while todo:
        pid = todo.pop()
        for task in _tasks(pid):
            with contextlib.suppress(OSError):
                children = [int(word) for word in (task / "children").read_text().split()]
                found.update(children)
                todo += children
    return frozenset(found)


def _tasks(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _namespaces(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/ns").iterdir():
            with contextlib.suppress(OSError):
                yield str(entry.readlink())


def _files(folder: Path) -> Iterator[str]:
    """Files of boxes; what a runtime keeps open for all of them (sockets, caches) is there before as well."""
    for path in folder.rglob("*"):
        if not path.is_socket():
            yield str(path.relative_to(folder))

"""What `tare box` can be asked, in words that know no runtime. Whoever carries it out is found by entry point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

EXIT_OURS, EXIT_CANNOT_RUN, EXIT_NOT_FOUND, EXIT_SIGNAL = 125, 126, 127, 128
"""As docker has them: our own error, a program that cannot be executed, one that is not there, and 128 + the signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """How a program meets whoever asked for it."""

    interactive: bool = False
    tty: bool = False
    user: str = ""
    env: Sequence[str] = ()
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """As they were said: sizes as `64m`, CPUs as `0-1,3`; empty where nothing was said."""

    memory: str = ""
    cpus: float | None = None
    pids: int | None = None
    cpuset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A box somebody wants."""

    image: str
    command: Sequence[str]
    attached: Attached
    limits: Limits
    name: str = ""
    detach: bool = False
    remove: bool = False
    publish: Sequence[str] = ()
    mounts: Sequence[str] = ()
    network: str = ""
    read_only: bool = False


class Boxes(Protocol):
    """The life of a box by hand. Codes are what the command ends with; texts are what it prints."""

    def run(self, wish: Wish) -> int: ...

    def exec(self, name: str, command: Sequence[str], attached: Attached, detach: bool) -> int: ...

    def ps(self, every: bool) -> str: ...

    def logs(self, name: str, follow: bool) -> Iterator[bytes]:
        """What it has printed; with `follow` also what it prints until it ends, as it comes."""

    def inspect(self, name: str) -> str: ...

    def stats(self, names: Sequence[str]) -> str: ...

    def pause(self, name: str) -> None: ...

    def unpause(self, name: str) -> None: ...

    def stop(self, name: str, grace_s: float) -> None: ...

    def kill(self, name: str, signal: str) -> None: ...

    def remove(self, name: str, force: bool) -> None: ...

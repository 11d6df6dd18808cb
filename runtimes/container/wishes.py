"""A wish of somebody's as what the runtime understands: everything is checked before anything is made. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness import agent
from harness.boxes import Attached, Wish
from harness.errors import UsageError
from harness.model import Image
from runtimes.bridge.network import HOST, KINDS, LOOPBACK, NONE
from runtimes.container import users
from runtimes.container.planning import Command

LEAST_MEMORY_BYTES = 4 << 20
"""Less, and the kernel ends the box before its program has begun."""

LEAST_CPUS = 0.01
"""A millisecond in each period, the least the kernel takes."""

MOST_PIDS = 1 << 22
"""More no kernel can number."""

DEFAULT_MEMORY_BYTES = 256 << 20
Number = TypeVar("Number", int, float)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_SIZE = re.compile(r"(\d+)([bkmg]?)i?b?", re.IGNORECASE)
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}
_VARIABLE = re.compile(r"[^=\0]+")


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port of the host that leads to one of the box."""

    address: str
    host: int
    box: int

    def __str__(self) -> str:
        return f"{self.address}:{self.host}->{self.box}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be made."""

    name: str
    image: Image
    command: Command
    ports: tuple[Port, ...]
    network: str
    memory_bytes: int
    cpus: float | None
    pids: int | None
    cpuset: tuple[int, ...]
    remove: bool


def order(wish: Wish, image: Image, name: str) -> Order:
    """UsageError says which word of the wish cannot be met, and what could."""
    network = wish.network or LOOPBACK
    if network not in KINDS:
        raise UsageError(f"there is no network {network!r}", hint=f"there are: {', '.join(KINDS)}")
    if wish.publish and network in (NONE, HOST):
        raise UsageError(f"the network {network} has no ports to publish", hint=f"use one of: {', '.join(KINDS[1:4])}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a box", hint="letters, digits, and _ . - after the first")
    return Order(
        name=name,
        image=image,
        command=command(wish, image, name),
        ports=tuple(map(port, wish.publish)),
        network=network,
        memory_bytes=memory_bytes(wish.limits.memory),
        cpus=_within("--cpus", wish.limits.cpus, LEAST_CPUS, os.cpu_count() or 1),
        pids=_within("--pids", wish.limits.pids, 1, MOST_PIDS),
        cpuset=cpuset(wish.limits.cpuset),
        remove=wish.remove,
    )


def command(wish: Wish, image: Image, name: str) -> Command:
    """The image's entry point with the command that was given, else with its own."""
    argv = (*image.entrypoint, *(wish.command or image.command))
    if not argv:
        raise UsageError(f"image {image.name} does not say what to run", hint="name a command after the image")
    attached = wish.attached
    user = users.find(Path(image.root), attached.user or image.user)
    base = {"PATH": agent.PATH, "HOSTNAME": name, "HOME": user.home}
    return Command(
        argv=argv,
        environment=environment(base | _pairs(image.env), attached),
        working_dir=_inside(attached.folder or image.working_dir or "/", "--workdir"),
        user=user.ids if user.ids != (0, 0) else (),
        terminal=attached.tty,
        mounts=tuple(map(mount, wish.mounts)),
        read_only=wish.read_only,
        hostname=name,
    )


def environment(base: Mapping[str, str], attached: Attached) -> tuple[tuple[str, str], ...]:
    """What was there, a terminal's kind, then what was said; a name without a value is ours, if we have it."""
    terminal = {"TERM": os.environ.get("TERM", "xterm")} if attached.tty else {}
    said = [word if "=" in word else f"{word}={os.environ[word]}" for word in attached.env if _is_given(word)]
    return tuple((dict(base) | terminal | _pairs(said)).items())


def _is_given(word: str) -> bool:
    if not _VARIABLE.match(word):
        raise UsageError(f"{word!r} is not a variable", hint="--env NAME=VALUE")
    return "=" in word or word in os.environ


def _pairs(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def memory_bytes(said: str) -> int:
    if not said:
        return DEFAULT_MEMORY_BYTES
    match = _SIZE.fullmatch(said)
    if not match:
        raise UsageError(f"--memory {said!r} is not a size", hint="e.g. 64m or 1g")
    size = int(match[1]) << _UNITS[match[2].lower()]
    if size < LEAST_MEMORY_BYTES:
        raise UsageError(f"--memory {said} is too little for any box", hint=f"at least {LEAST_MEMORY_BYTES >> 20}m")
    return size


def _within(option: str, said: Number | None, least: float, most: float) -> Number | None:
    if said is not None and not least <= said <= most:
        raise UsageError(f"{option} {said} is out of range", hint=f"from {least} to {most}")
    return said


def cpuset(said: str) -> tuple[int, ...]:
    """`0-1,3`, all of them CPUs we may use ourselves."""
    if not said:
        return ()
    chosen: set[int] = set()
    for part in said.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()) or int(last or first) > 1 << 16:
            raise UsageError(f"--cpuset {said!r} is not a list of CPUs", hint="e.g. 0-1,3")
        chosen.update(range(int(first), int(last or first) + 1))
    ours = os.sched_getaffinity(0)
    if not chosen or not chosen <= ours:
        raise UsageError(f"--cpuset {said}: not all of these are here", hint=f"there are: {sorted(ours)}")
    return tuple(sorted(chosen))


def mount(said: str) -> tuple[str, str, bool]:
    source, _, rest = said.partition(":")
    target, _, mode = rest.partition(":")
    if not target or mode not in ("", "ro", "rw"):
        raise UsageError(f"--mount {said!r} is not HOST:BOX[:ro]", hint="both are absolute paths")
    if not source.startswith("/") or not Path(source).exists():
        raise UsageError(f"--mount {said}: there is no {source}", hint="name an absolute path that exists on this host")
    return source, _inside(target, "--mount"), mode == "ro"


def _inside(path: str, option: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise UsageError(f"{option}: {path!r} is not an absolute path in the box", hint="e.g. /data")
    return path


def port(said: str) -> Port:
    """`[IP:]HOST:BOX`; all addresses of this host, if none is said."""
    front, _, box = said.rpartition(":")
    address, _, host = front.rpartition(":")
    if not (_is_port(host) and _is_port(box)):
        raise UsageError(f"--publish {said!r} is not [IP:]HOST:BOX", hint="ports are 1 to 65535, e.g. 8080:80")
    return Port(address.strip("[]") or "0.0.0.0", int(host), int(box))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16


def joining(attached: Attached, argv: Sequence[str], image: Image, base: Mapping[str, str]) -> Command:
    """A further program of a box that runs, in that box's environment."""
    user = users.find(Path(image.root), attached.user or image.user)
    home = {"HOME": user.home} if attached.user else {}
    return Command(
        argv=tuple(argv),
        environment=environment({**base, **home}, attached),
        working_dir=_inside(attached.folder or image.working_dir or "/", "--workdir"),
        user=user.ids if user.ids != (0, 0) else (),
        terminal=attached.tty,
    )

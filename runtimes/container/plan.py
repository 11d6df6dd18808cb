"""One container as the zygote and its child are told of it: plain values, decided before anything is made.

Loaded on both sides of the border, so it imports nothing of the harness.
"""

from __future__ import annotations

import marshal
import struct
from typing import NamedTuple

from runtimes.bridge.netlink import Link

MESSAGE_BYTES = 64 << 10
"""A request must fit one message, whose size the kernel bounds; a plan is about 1 KiB."""

MESSAGE_DESCRIPTORS = 6
"""What goes with a request: the box's stdin, stdout and stderr, its report pipe, its gate, its status socket.

The gate is an eventfd, a semaphore, that the harness writes to twice while a new box is on its way: when its folders
are made, which its root is mounted from, and when all its cgroups and limits are.
"""

BIRTH = struct.Struct("=dI")
"""First word on a status socket: the monotonic clock when the clone had returned, the pid. Two descriptors come along,
its pidfd and its mount namespace.

The kernel reports a death after it has taken the mounts apart, which for an overlay means to write out all of the disk
below it, whoever's data that is. Held by somebody else, they go when that lets go, and the death is seen at once.
"""

DESCRIPTOR = struct.Struct("=i")
"""One of them as ancillary data."""

DEATH = struct.Struct("=i")
"""Last word: the exit code, or the negative number of the signal that ended it. A `Failure` follows if it was not
executed."""


class Plan(NamedTuple):
    """A container to start. All paths are the host's and absolute, but for `argv[0]`.

    `unified` is its v2 cgroup or empty; `tasks` are those files of its v1 cgroups, which may be made a moment later.
    `read_only` is about the root; what is mounted on it (/dev/shm) is not concerned.
    `folder` is where the root is assembled: in the container's own mount namespace, so the host never sees it there.
    `network` is one of the names in network.py; `link` comes with those that have a bridge.
    `user` is its number, its group's and those of further groups; nothing is root. `mounts` are a path of the host, one
    of the box and whether it is read-only. `join` is the first process of a running box to be in; nothing is a new one.
    `copied` is whether the child must not share the zygote's memory; see machine.py.
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    lower: str
    upper: str
    work: str
    folder: str
    unified: str
    tasks: tuple[str, ...]
    cpuset: tuple[int, ...]
    read_only: bool
    network: str
    link: Link | None
    working_dir: str = ""
    user: tuple[int, ...] = ()
    terminal: bool = False
    mounts: tuple[tuple[str, str, bool], ...] = ()
    join: int = 0
    copied: bool = False

    def encode(self) -> bytes:
        # marshal knows plain tuples only
        return marshal.dumps(tuple(tuple(field) if isinstance(field, tuple) else field for field in self))

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        plan = cls(*marshal.loads(data))
        return plan._replace(link=Link(*plan.link)) if plan.link else plan


class Failure(NamedTuple):
    """The step of a start that went wrong: `errno` 0 is a fault of our own code, whose words are in `detail`."""

    step: str
    errno: int
    detail: str

    def encode(self) -> bytes:
        return marshal.dumps(tuple(self))

    @classmethod
    def decode(cls, data: bytes) -> Failure:
        return cls(*marshal.loads(data))

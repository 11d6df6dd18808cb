"""One container as the zygote and its child are told of it: plain values, decided before anything is made.

Loaded on both sides of the border, so it imports nothing of the harness.
"""

from __future__ import annotations

import marshal
import struct
from typing import NamedTuple

MESSAGE_BYTES = 64 << 10
"""A request must fit one message, whose size the kernel bounds; a plan is about 1 KiB."""

MESSAGE_DESCRIPTORS = 5
"""What goes with a request: the box's stdin, stdout and stderr, its report pipe, its status socket."""

BIRTH = struct.Struct("=dI")
"""First word on a status socket: the monotonic clock when the clone had returned, the pid. Its pidfd comes along."""

PIDFD = struct.Struct("=i")
"""The descriptor as ancillary data."""

DEATH = struct.Struct("=i")
"""Last word: the exit code, or the negative number of the signal that ended it."""


class Plan(NamedTuple):
    """A container to start. All paths are the host's and absolute, but for `argv[0]`.

    `unified` is its v2 cgroup or empty; `early` and `late` are v1 `tasks` files, joined before and after the mounts.
    `folder` is where the root is assembled: in the container's own mount namespace, so the host never sees it there.
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    lower: str
    upper: str
    work: str
    folder: str
    unified: str
    early: tuple[str, ...]
    late: tuple[str, ...]
    cpuset: tuple[int, ...]

    def encode(self) -> bytes:
        return marshal.dumps(tuple(self))

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        return cls(*marshal.loads(data))


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

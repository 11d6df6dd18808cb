"""The kernel's own messages about links, without a library: what takes a link away, and what speaks of one is made of.

Loaded by the zygote of a runtime too, so it imports nothing but what that has.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_NETLINK, SOCK_RAW, if_nametoindex, inet_aton, socket
from typing import NamedTuple

NETLINK_ROUTE = 0
REQUEST, CHANGE, MAKE = 0x1, 0x1 | 0x4, 0x1 | 0x4 | 0x200 | 0x400  # the last two are acknowledged
LINK = struct.Struct("=BxHiII")
ANSWER_BYTES = 8192
_RTM_DELLINK = 17
_HEADER = struct.Struct("=IHHII")


class Link(NamedTuple):
    """A box's way out: `name` is the host's end of it, `bridge` the index of the link it is a port of."""

    name: str
    bridge: int
    address: str
    prefix: int
    gateway: str


def delete_link(name: str) -> None:
    """For bridges; never on the way of a box. Harmless on one that is not there."""
    try:
        index = if_nametoindex(name)
    except OSError:
        return
    ask(message(_RTM_DELLINK, LINK.pack(0, 0, index, 0, 0), CHANGE))


def hardware_address(address: str) -> bytes:
    """Derived from the IP address: whoever remembers the one from an earlier box is not misled about the other."""
    return b"\x02\x54" + inet_aton(address)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, body: bytes, flags: int = MAKE) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def ask(*messages: bytes) -> None:
    """Sends them at once; every one is answered, with 0 or with what went wrong."""
    kernel = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    try:
        kernel.sendto(b"".join(messages), (0, 0))
        for _ in messages:
            (code,) = struct.unpack_from("=i", kernel.recv(ANSWER_BYTES), _HEADER.size)
            if code:
                raise OSError(-code, f"rtnetlink: {os.strerror(-code)}")
    finally:
        kernel.close()

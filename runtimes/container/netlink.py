"""A box's network link, spoken to the kernel in its own messages: half a millisecond instead of a library's start.

The zygote asks for the pair and names the box as the owner of one end, so that end is never on the host, and gives it
an address from within the box's namespace. Nobody deletes a link: it goes with that namespace, and asking for it would
wait 20–40 ms.
"""

from __future__ import annotations

import fcntl
import os
import struct
from _socket import AF_INET, AF_NETLINK, SOCK_DGRAM, SOCK_RAW, if_nametoindex, inet_aton, socket

from runtimes.bridge.netlink import (
    ANSWER_BYTES,
    CHANGE,
    LINK,
    NETLINK_ROUTE,
    REQUEST,
    Link,
    ask,
    attribute,
    hardware_address,
    message,
    number,
)

INSIDE = "eth0"
"""What a box's end is called in the box."""

_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 18, 20, 24
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_OIF, _RTA_GATEWAY = 4, 5
_IFF_UP = 1
_TABLE_MAIN, _PROTOCOL_STATIC, _UNICAST = 254, 4, 1
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=8BI")
_SIOCSIFFLAGS = 0x8914
_LOOPBACK_UP = struct.pack("16sh14x", b"lo", _IFF_UP)


def make_link(link: Link, network: int) -> None:
    """A veth pair: one end a port of the bridge and up, the other born in that network namespace."""
    peer = (
        LINK.pack(0, 0, 0, 0, 0)  # not up: the kernel refuses that while the pair is not one yet
        + attribute(_IFLA_IFNAME, INSIDE.encode() + b"\0")
        + attribute(_IFLA_ADDRESS, hardware_address(link.address))
        + number(_IFLA_NET_NS_FD, network)
    )
    kind = attribute(_INFO_KIND, b"veth") + attribute(_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    body = (
        LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP)
        + attribute(_IFLA_IFNAME, link.name.encode() + b"\0")
        + number(_IFLA_MASTER, link.bridge)
        + attribute(_IFLA_LINKINFO, kind)
    )
    ask(message(_RTM_NEWLINK, body))


def use_link(link: Link) -> None:
    """In the box's network namespace: up, with its address and the way to everywhere else."""
    index = if_nametoindex(INSIDE)
    own, gateway = inet_aton(link.address), inet_aton(link.gateway)
    size = 32 - link.prefix
    last = (int.from_bytes(own, "big") | (1 << size) - 1).to_bytes(4, "big")
    address = _ADDRESS.pack(AF_INET, link.prefix, 0, 0, index)
    address += attribute(_IFA_LOCAL, own) + attribute(_IFA_ADDRESS, own) + attribute(_IFA_BROADCAST, last)
    route = _ROUTE.pack(AF_INET, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, 0, _UNICAST, 0)
    route += attribute(_RTA_GATEWAY, gateway) + number(_RTA_OIF, index)
    up = message(_RTM_NEWLINK, LINK.pack(0, 0, index, _IFF_UP, _IFF_UP), CHANGE)
    ask(up, message(_RTM_NEWADDR, address), message(_RTM_NEWROUTE, route))


def use_loopback() -> None:
    """In the box's network namespace: its loopback up, and every group may open echo sockets, which see echoes only: so
    `ping` needs no raw socket, which sees all."""
    any_socket = socket(AF_INET, SOCK_DGRAM)
    try:
        fcntl.ioctl(any_socket.fileno(), _SIOCSIFFLAGS, _LOOPBACK_UP)
    finally:
        any_socket.close()
    setting = os.open("/proc/sys/net/ipv4/ping_group_range", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(setting, b"0 2147483647")
    finally:
        os.close(setting)


def settle(link: Link) -> None:
    """Returns when the link carries packets, as seen from the host.

    The kernel lets a port forward only in a moment of its own after both ends are up, and drops packets until then: a
    lost first question for an address costs a second. Asked for a link (since Linux 6.8) it does that at once.
    """
    kernel = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    try:
        name = attribute(_IFLA_IFNAME, link.name.encode() + b"\0")
        questions = (LINK.pack(0, 0, 0, 0, 0) + name, LINK.pack(0, 0, link.bridge, 0, 0))
        kernel.sendto(b"".join(message(_RTM_GETLINK, question, REQUEST) for question in questions), (0, 0))
        for _ in questions:
            kernel.recv(ANSWER_BYTES)
    finally:
        kernel.close()

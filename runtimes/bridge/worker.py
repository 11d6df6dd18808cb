"""The network worker: makes a bridge for a run and keeps it as long as its socket is open, then takes it away.

A process of its own, because the library that knows links, addresses and routes takes a quarter of a second and 24 MiB
to load: neither the process that measures nor the zygote pays for it. It ends when the other end of its socket does,
so a harness that was killed leaves no bridge; if it is killed as well, `bridges.sweep` knows what there was.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from harness.errors import TareError, Unsupported
from runtimes.bridge import bridges, forwarding, netlink

POOLS = (IPv4Network("198.18.0.0/15"), IPv4Network("172.16.0.0/12"))
"""The first is set aside for benchmarks of networks and so in use nearly nowhere; the second is private."""

MESSAGE_BYTES = 4096
_RULES = """
add table ip {table} {{ comment "{mark}"; }}
add chain ip {table} outgoing {{ type nat hook postrouting priority srcnat; }}
add rule ip {table} outgoing ip saddr {subnet} oifname != "{bridge}" masquerade
add chain ip {table} incoming {{ type filter hook forward priority filter; }}
add rule ip {table} incoming iifname != "{bridge}" oifname "{bridge}" ct state != {{ established, related }} drop
"""


def serve(control_fd: int, mark: str) -> None:
    """Answers every request; the bridge itself is the answer to having been started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ctrl-C: what we made is taken away when the harness has ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=control_fd) as control, IPRoute() as route:
        bridge = Bridge(route, mark)
        try:
            _answer(control, bridge.open)
            while control.recv(MESSAGE_BYTES):
                _answer(control, bridge.masquerade)
        finally:
            bridge.close()


def _answer(control: socket.socket, act: Any) -> None:
    try:
        words = act()
    except TareError as error:
        words = {"error": error.message, "hint": error.hint}
    except (NetlinkError, OSError) as error:
        words = {"error": f"the network could not be set up: {error}", "hint": "see what owns the host's network"}
    try:
        control.send(msgspec.json.encode(words))
    except (BrokenPipeError, ConnectionResetError):
        return


class Bridge:
    """The bridge of a mark: made by the first who needs it, shared by the others."""

    def __init__(self, route: IPRoute, mark: str) -> None:
        self._route = route
        self._mark = mark
        self._name = bridges.name_of(mark)
        self._hold: bridges.Hold | None = None

    def open(self) -> dict[str, Any]:
        """Its index in the host's table of links, and the host's own address on it."""
        with bridges.changing():
            self._hold = bridges.Hold(self._name, self._mark)
            if self._hold.alone:
                self._remove_remains()
                self._make(free_subnet(self._taken()))
            index = self._route.link_lookup(ifname=self._name)[0]
            (address,) = self._route.get_addr(index=index, family=socket.AF_INET)
            gateway = address.get_attr("IFA_ADDRESS")
            return {"index": index, "gateway": gateway, "prefix": address["prefixlen"]}

    def masquerade(self) -> dict[str, Any]:
        """Lets boxes speak to the world beyond the host, under the host's address."""
        with bridges.changing():
            done = bridges.folder_of(self._name) / "nat"
            if not done.exists():
                index = self._route.link_lookup(ifname=self._name)[0]
                (address,) = self._route.get_addr(index=index, family=socket.AF_INET)
                subnet = IPv4Interface(f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}").network
                done.touch()
                try:
                    bridges.nft(
                        _RULES.format(
                            table=bridges.table_of(self._name), mark=self._mark, subnet=subnet, bridge=self._name
                        )
                    )
                    forwarding.acquire(self._name)
                except BaseException:
                    bridges.remove_table(self._name)
                    done.unlink()
                    raise
        return {}

    def close(self) -> None:
        if self._hold is not None:
            with bridges.changing():
                self._hold.close()

    def _remove_remains(self) -> None:
        """What a killed worker of the same mark left."""
        for index in self._route.link_lookup(ifname=self._name):
            self._route.link("del", index=index)

    def _make(self, subnet: IPv4Network) -> None:
        gateway = str(subnet[1])
        hardware = netlink.hardware_address(gateway).hex(":")  # else it would change with every port that comes
        self._route.link("add", ifname=self._name, kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
        index = self._route.link_lookup(ifname=self._name)[0]
        self._route.link("set", index=index, address=hardware, ifalias=self._mark)
        self._route.addr("add", index=index, address=gateway, prefixlen=subnet.prefixlen)
        self._route.link("set", index=index, state="up")

    def _taken(self) -> Iterator[IPv4Network]:
        """Every network this host has an address in or a way to, but for the way to everywhere."""
        for address in self._route.get_addr(family=socket.AF_INET):
            yield IPv4Interface(f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}").network
        for way in self._route.get_routes(family=socket.AF_INET):
            if way["dst_len"]:
                yield IPv4Network(f"{way.get_attr('RTA_DST')}/{way['dst_len']}", strict=False)


def free_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first subnet of the pools that meets none of those."""
    all_taken = list(taken)
    for pool in POOLS:
        for subnet in pool.subnets(new_prefix=bridges.PREFIX):
            if not any(subnet.overlaps(other) for other in all_taken):
                return subnet
    raise Unsupported(
        "no free IPv4 network for a bridge: this host has routes to all that could be used",
        hint="use the network loopback",
    )

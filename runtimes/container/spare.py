"""What the next box needs and what depends on nothing of it: made by the zygote before it is asked for.

A network namespace alone takes half a millisecond, more than all other namespaces together. One box's worth is kept:
a few descriptors of things that are nowhere yet and end with the zygote. The zygote itself stays in the host's network.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from runtimes.container import rootfs
from runtimes.container import syscalls as sys_


class Spare(NamedTuple):
    """Devices, and a network namespace."""

    devices: rootfs.Devices
    network: int


def own_network() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def make(home: int) -> Spare:
    """`home` is the network namespace to come back to."""
    devices = rootfs.make_devices()
    try:
        sys_.unshare(sys_.CLONE_NEWNET)
        try:
            return Spare(devices, own_network())
        finally:
            sys_.setns(home, sys_.CLONE_NEWNET)
    except BaseException:
        _close(devices)
        raise


def discard(spare: Spare) -> None:
    """Once a box has it, or nobody will."""
    _close((*spare.devices, spare.network))


def _close(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)

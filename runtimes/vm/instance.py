"""One virtual machine that was started: the handle a scenario holds."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.agent import Channel
from harness.cgroups import Cgroup
from harness.contract import Completed, Counts
from harness.errors import TrialTimeout, UsageError
from harness.model import Phase
from runtimes.vm import checkpoints, grub, initrd, timeline
from runtimes.vm.connection import Domain
from runtimes.vm.console import Console
from runtimes.vm.documents import documents
from runtimes.vm.domain import Machine
from runtimes.vm.placement import UnifiedMove
from runtimes.vm.processes import Handle
from runtimes.vm.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a box is made of, each made by the driver and taken apart by `VmInstance.stop`."""

    domain: Domain
    embedded: bool
    qemu: Handle
    console: Console
    agent: socket.socket
    move: UnifiedMove
    cgroup: Cgroup | None
    machine: Machine
    xml: str


@dataclass(frozen=True, slots=True)
class Stamps:
    """The driver's instants of a start, by the host's monotonic clock, and how far the wall clock was ahead of it."""

    requested_s: float
    created_s: float
    resumed_s: float
    ahead_s: float


class VmInstance:
    """A box: `Instance`, `Pausable`, `Checkpointable`, `Haltable` and `Counted` of the contract."""

    def __init__(self, name: str, parts: Parts, stamps: Stamps) -> None:
        self.name = name
        self._parts = parts
        self._stamps = stamps
        self._stopped = False
        read_write = parts.agent.fileno()
        self._channel = Channel(read_write, read_write, name=name, log_tail=parts.console.tail)

    @property
    def address(self) -> str | None:
        link = self._parts.machine.link
        return link.address if link else None

    @property
    def cgroup(self) -> Cgroup | None:
        return self._parts.cgroup

    @property
    def disk_paths(self) -> Sequence[Path]:
        machine = self._parts.machine
        return (machine.overlay, machine.variables) if machine.variables else (machine.overlay,)

    def wait_ready(self, timeout_s: float) -> None:
        if self._parts.machine.state and not self._channel.ready_at_s:
            self._channel.hail(timeout_s)
        self._channel.wait_ready(timeout_s)
        self._parts.move.join()

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return self._channel.run(argv, timeout_s)

    def pids(self) -> frozenset[int]:
        return frozenset({self._parts.qemu.pid}) if self._parts.qemu.alive else frozenset()

    def phases(self) -> Sequence[Phase]:
        """Where QEMU keeps no trace, `kernel` includes the firmware, and `spawn` the way back from libvirt."""
        stamps, trace = self._stamps, self._parts.machine.trace
        seen = timeline.read(trace, stamps.ahead_s) if trace else Timeline()
        console, loader = self._parts.console, self._parts.machine.profile.loader
        init_s = console.arrived_s(initrd.MARKER)
        running_s = seen.running_s(stamps.created_s, stamps.resumed_s)
        instants = [
            ("create", stamps.created_s),  # request → a paused QEMU: libvirt's control plane and QEMU's own start
            ("spawn", running_s),  # → its virtual CPUs were told to run
            # → the kernel was handed over; or a boot loader has begun, if that says so
            ("firmware", console.arrived_s(grub.MARKER) if loader else seen.entered_s(running_s, init_s)),
            ("kernel", init_s),  # → first words of init
            # → the agent's first byte; of a restored box, which runs no init: its first answer
            ("userspace", self._channel.ready_at_s if init_s or self._parts.machine.state else 0.0),
        ]
        ends = [(name, ended_s) for name, ended_s in instants if ended_s]
        begins = [stamps.requested_s, *(ended_s for _, ended_s in ends)]
        return [Phase(name, began_s, ended_s) for began_s, (name, ended_s) in zip(begins, ends, strict=False)]

    def documents(self) -> Mapping[str, str]:
        return documents(self._parts.machine, self._parts.xml, self._parts.qemu.pid)

    def pause(self) -> None:
        self._parts.domain.suspend()

    def resume(self) -> None:
        self._parts.domain.resume()

    def checkpoint(self, folder: Path) -> None:
        parts = self._parts
        if parts.machine.link:
            raise UsageError(
                "a box with a network cannot be saved: its address would be another's", hint="start it without"
            )
        parts.move.join()
        with parts.qemu.collected():
            parts.domain.save(folder / checkpoints.STATE)
        checkpoints.complete(folder, parts.machine.overlay, parts.machine.boot.image_disk)
        self.stop()

    def shut_down(self, timeout_s: float) -> None:
        parts = self._parts
        parts.domain.press_power_button()
        if not parts.qemu.ends(timeout_s):
            raise TrialTimeout(f"{self.name} did not shut down within {timeout_s:g} s", log=parts.console.tail())

    def counts(self) -> Counts:
        """`steal`: virtual CPUs were ready to run, and the host ran something else. `exits` are KVM's alone."""
        found = self._parts.domain.vcpu_counts()
        delay_ns, exits = total(found, "delay"), total(found, "exits.sum")
        return Counts(None if delay_ns is None else delay_ns / 1e9, exits)

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        parts = self._parts
        with ExitStack() as last_first:  # each step is taken even when one before it failed
            last_first.callback(parts.qemu.close)
            last_first.callback(parts.agent.close)
            last_first.callback(parts.console.close)
            last_first.callback(parts.qemu.kill)  # whatever became of a daemon
            # libvirt looks for the pid every 200 ms, so this takes 0.2 s.
            last_first.callback(parts.domain.destroy)
            if parts.embedded:  # a daemon's QEMU is the daemon's to end
                last_first.callback(parts.qemu.kill)
            last_first.callback(parts.move.join)


def total(counts: Mapping[str, int], what: str) -> int | None:
    """The sum over virtual CPUs of one of libvirt's counts; None when it has no such count."""
    ours = [count for name, count in counts.items() if name.startswith("vcpu.") and name.split(".", 2)[2:] == [what]]
    return sum(ours) if ours else None

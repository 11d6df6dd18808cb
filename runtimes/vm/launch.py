"""From a description to a running guest: sockets, the paused domain, the ends joined, and go."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.cgroups import Cgroup
from runtimes.vm import checkpoints, grub, initrd, placement, processes, timeline
from runtimes.vm.connection import Connection, Domain
from runtimes.vm.console import Console
from runtimes.vm.domain import Machine, domain_xml
from runtimes.vm.instance import Parts, Stamps, VmInstance

_CONNECT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Listeners:
    """The two sockets QEMU connects to while it starts, and the file it notes its instants in."""

    agent: socket.socket
    agent_path: Path
    console: socket.socket
    console_path: Path
    trace: Path


@contextmanager
def listening(folder: Path, name: str) -> Iterator[Listeners]:
    """Both sockets, bound below a folder whose path is short. The file is QEMU's to make and ours to remove."""
    agent_path, console_path, trace = (folder / f"{name}.{what}" for what in ("agent", "console", "trace"))
    with _listener(agent_path) as agent, _listener(console_path) as console:
        try:
            yield Listeners(agent, agent_path, console, console_path, trace)
        finally:
            trace.unlink(missing_ok=True)


@contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        try:
            path.chmod(0o666)  # a daemon's QEMU runs as somebody else; the folder keeps strangers out
            listener.listen(1)
            listener.settimeout(_CONNECT_TIMEOUT_S)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def boot(
    link: Connection, machine: Machine, cgroup: Cgroup | None, listeners: Listeners, requested_s: float
) -> VmInstance:
    """Creates the domain, joins the ends and lets it run; nothing is left of it when that fails."""
    xml = domain_xml(machine)
    ahead_s = timeline.wall_ahead_s()
    with placement.announced(machine.emulator, machine.name, cgroup) if link.embedded else nullcontext():
        domain = _paused(link, machine, xml)
    created_s = time.monotonic()
    with ExitStack() as undo:
        undo.callback(domain.destroy)
        console_end = undo.enter_context(listeners.console.accept()[0])
        agent_end = undo.enter_context(listeners.agent.accept()[0])
        qemu = processes.Handle(processes.peer_pid(agent_end))
        undo.callback(qemu.close)
        undo.callback(qemu.kill)  # first of all: libvirt would wait for it, and nobody else collects it
        if cgroup and not link.embedded:
            cgroup.join(qemu.pid)  # a daemon's child: moved late and slowly, but before the guest begins
        move = placement.UnifiedMove(cgroup, qemu.pid)
        domain.resume()
        resumed_s = time.monotonic()
        parts = Parts(
            domain=domain,
            embedded=link.embedded,
            qemu=qemu,
            console=Console(console_end, (grub.MARKER, initrd.MARKER)),
            agent=agent_end,
            move=move,
            cgroup=cgroup,
            machine=machine,
            xml=xml,
        )
        undo.pop_all()
    return VmInstance(machine.name, parts, Stamps(requested_s, created_s, resumed_s, ahead_s))


def _paused(link: Connection, machine: Machine, xml: str) -> Domain:
    """A new domain, or a saved one under this box's name."""
    if machine.state is None:
        return link.create_paused(machine.name, xml)
    with checkpoints.being_read(machine.state):
        checkpoints.rename(machine.state, xml)
        return link.restore_paused(machine.name, machine.state)

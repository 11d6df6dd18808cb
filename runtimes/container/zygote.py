"""The zygote: a small process of one thread from which every container is cloned.

A box's first process shares this one's memory until it executes its program, and where it cannot, is a copy of it,
whose cost grows with the parent: so the parent is small. It also cannot be harmed by the harness's threads.

It serves requests over a SEQPACKET socket until that is closed, which also happens when the harness is killed; then it
kills every box and ends. It is no subreaper: whatever a box leaves behind is in the box's pid namespace, whose PID 1
inherits it and takes it along. It ignores nothing and logs nothing: a fault of its own ends it with a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import struct
import time
from _socket import AF_UNIX, CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
from collections.abc import Sequence
from typing import NamedTuple

from runtimes.container import capabilities, devices, netlink, privileges, rootfs, spare
from runtimes.container import syscalls as sys_
from runtimes.container.calls import DEV, ERROR_MET, PTS, REPORT, SHM, Calls
from runtimes.container.enter import NAMESPACES, Around, Descriptors, Lifeline, Ways
from runtimes.container.machine import Area, Runner
from runtimes.container.plan import BIRTH, DEATH, DESCRIPTOR, MESSAGE_BYTES, MESSAGE_DESCRIPTORS, Failure, Plan

_DESCRIPTORS = struct.Struct(f"={MESSAGE_DESCRIPTORS}i")
_QUIET_MS = 5
"""Of nothing to do, until what the next box needs is made: a box on its way has the processors for itself."""


class Shared(NamedTuple):
    """What the zygote has for all boxes: what runs their lists of calls, the parts of these that are always the same,
    areas that no box uses any more, the program for their devices.

    `spare` holds what was made for the next box before it is asked for; `home` is the host's network.
    """

    runner: Runner
    ways: Ways
    areas: list[Area]
    devices: int
    home: int
    spare: list[spare.Spare]


class Started(NamedTuple):
    """A box on its way or running: where its end is to be told, and its list."""

    status: socket
    area: Area


def serve(control_fd: int) -> None:
    """Serves until the harness is gone; leaves no box alive."""
    sys_.prctl(sys_.PR_SET_PDEATHSIG, sys_.SIGKILL)
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)  # a box on its way shares our memory: nobody is to look into it or trace it
    sys_.unshare(sys_.CLONE_NEWNS)  # mounts of the host come in here and so to the boxes, and nothing ever goes back
    sys_.set_propagation("/", sys_.MS_REC | sys_.MS_SLAVE)
    os.umask(0)
    privileges.bound(capabilities.DEFAULT)
    sys_.close_range(control_fd + 1, 0)  # whatever the harness had open that exec let through
    control = socket(AF_UNIX, SOCK_SEQPACKET, 0, control_fd)
    ways = Ways(Lifeline(*os.pipe2(os.O_CLOEXEC)), control.recv(MESSAGE_BYTES))
    shared = Shared(Runner(), ways, [], devices.load(), spare.own_network(), [])
    boxes: dict[int, Started] = {}
    poll = select.poll()
    poll.register(control_fd, select.POLLIN)
    gc.disable()  # a collection would write to, and so copy, pages shared with copies of this
    gc.freeze()
    control.send(b"ready")
    wait_ms: int | None = _QUIET_MS
    while True:
        ready = poll.poll(wait_ms)
        if not ready:
            wait_ms = None
            _make_spare(shared)
        for ready_fd, _ in ready:
            if ready_fd != control_fd:
                poll.unregister(ready_fd)
                _reap(ready_fd, boxes.pop(ready_fd), shared)
                continue
            request, received = _receive(control)
            if not request:
                _kill(boxes)
                return
            if not received:
                continue
            pidfd, started = _start(Plan.decode(request), received, shared)
            wait_ms = _QUIET_MS
            if pidfd >= 0:
                boxes[pidfd] = started
                poll.register(pidfd, select.POLLIN)


def _receive(control: socket) -> tuple[bytes, tuple[int, ...]]:
    """A request and all its descriptors; none where no number was left for one: whoever asked sees them closed."""
    request, ancillary, _, _ = control.recvmsg(MESSAGE_BYTES, CMSG_SPACE(_DESCRIPTORS.size), MSG_CMSG_CLOEXEC)
    rights = ancillary[0][2] if ancillary else b""
    if len(rights) == _DESCRIPTORS.size:
        return request, _DESCRIPTORS.unpack(rights)
    for (descriptor,) in DESCRIPTOR.iter_unpack(rights):
        os.close(descriptor)
    return request, ()


def _start(plan: Plan, received: tuple[int, ...], shared: Shared) -> tuple[int, Started]:
    """Clones a box and tells its birth on its status socket; a clone that fails is told on its report pipe (-1)."""
    *ours, status = received
    descriptors = Descriptors(*ours)
    started = Started(socket(AF_UNIX, SOCK_SEQPACKET, 0, status), shared.areas.pop() if shared.areas else Area())
    given: list[rootfs.Given] = []
    pid, pidfd = -1, -1
    step = "make its devices and network"
    try:
        if not shared.spare:
            shared.spare.append(spare.make(shared.home))
        step = "mount what it was given"
        given = rootfs.take_mounts(plan)
        step = "clone"
        if plan.join:
            _load(shared.ways.into_running(plan, descriptors), descriptors, started.area)
            pid, pidfd = _clone_into(plan, started.area)
        else:
            pid, pidfd = _clone_new(plan, descriptors, given, started, shared)
    except (OSError, ValueError, struct.error) as error:  # the latter: a value that no call can be given
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        os.write(descriptors.report, Failure(step, number, getattr(error, "strerror", None) or str(error)).encode())
        started.status.close()
        shared.areas.append(started.area)
    if pid > 0 and plan.join:
        _tell_birth(started, pid, pidfd)
    rootfs.discard_mounts(given)
    for descriptor in descriptors:
        os.close(descriptor)
    return pidfd, started


def _load(way: Sequence[Calls], descriptors: Descriptors, area: Area) -> None:
    area.load(way)
    area.put(REPORT, descriptors.report)


def _clone_new(
    plan: Plan, descriptors: Descriptors, given: list[rootfs.Given], started: Started, shared: Shared
) -> tuple[int, int]:
    network = None if plan.network == "host" else shared.spare[0].network
    ready = os.eventfd(0)
    try:
        _load(shared.ways.into_new(plan, descriptors, Around(network, ready, given)), descriptors, started.area)
        for place, mount in zip((DEV, PTS, SHM), shared.spare[0].devices, strict=True):
            started.area.put(place, mount)
        return _clone(plan, started, ready, shared)
    finally:
        os.close(ready)


def _clone(plan: Plan, started: Started, ready: int, shared: Shared) -> tuple[int, int]:
    """A child in new namespaces and in its v2 cgroup, and, while it mounts, what it needs before it is let through."""
    folder = os.open(plan.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if plan.unified else None
    try:
        if shared.runner.shares and not plan.copied:
            pid, pidfd = shared.runner.start(NAMESPACES, folder, started.area)
        else:
            pid, pidfd = _copy(NAMESPACES, folder, started.area)
        _tell_birth(started, pid, pidfd)
        try:
            if folder is not None:
                sys_.attach_bpf(shared.devices, folder, sys_.BPF_CGROUP_DEVICE)
            if plan.network not in ("none", "host"):
                _connect(plan, shared)
        except OSError as error:
            started.area.put(ERROR_MET, error.errno or errno.EIO)
        os.eventfd_write(ready, 1)
        spare.discard(shared.spare.pop())
        return pid, pidfd
    finally:
        if folder is not None:
            os.close(folder)


def _connect(plan: Plan, shared: Shared) -> None:
    network = shared.spare[0].network
    if plan.link is not None:
        netlink.make_link(plan.link, network)
    sys_.setns(network, sys_.CLONE_NEWNET)
    try:
        netlink.use_loopback()
        if plan.link is not None:
            netlink.use_link(plan.link)
    finally:
        sys_.setns(shared.home, sys_.CLONE_NEWNET)
    if plan.link is not None:
        netlink.settle(plan.link)


def _copy(flags: int, folder: int | None, area: Area) -> tuple[int, int]:
    """A child that is a copy of this process; it does not return from here."""
    pid, pidfd = sys_.clone3(flags, folder)
    if not pid:
        try:
            area.run()
        finally:
            os._exit(127)
    return pid, pidfd


def _clone_into(plan: Plan, area: Area) -> tuple[int, int]:
    """A child in the pid namespace of a running box: only a parent can choose that. The box's first process is ours and
    not reaped, so its number is nobody else's.

    It is a copy: in a box that is full, the kernel may have to kill somebody before the program is executed.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    box = os.pidfd_open(plan.join)
    folder = os.open(plan.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if plan.unified else None
    try:
        sys_.setns(box, sys_.CLONE_NEWPID)
        return _copy(0, folder, area)
    finally:
        sys_.setns(own, sys_.CLONE_NEWPID)
        for descriptor in (own, box, folder):
            if descriptor is not None:
                os.close(descriptor)


def _tell_birth(started: Started, pid: int, pidfd: int) -> None:
    born_s, rights, mounts = time.monotonic(), DESCRIPTOR.pack(pidfd), -1
    with contextlib.suppress(OSError):
        mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        rights += DESCRIPTOR.pack(mounts)
    try:
        _tell(started.status, BIRTH.pack(born_s, pid), [(SOL_SOCKET, SCM_RIGHTS, rights)])
    except OSError:  # a box nobody knows of is not to run
        sys_.pidfd_send_signal(pidfd, sys_.SIGKILL)
    if mounts >= 0:
        os.close(mounts)


def _reap(pidfd: int, started: Started, shared: Shared) -> None:
    """Tells a box's end: its exit code, or the negative number of the signal that killed it, and what failed.

    That is known before it is taken out of the table of processes, and so is that nothing in the box runs any more.
    """
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    if ended is not None:
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        failure = started.area.failure()
        _tell(started.status, DEATH.pack(code) + (failure.encode() if failure else b""), [])
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    started.status.close()
    os.close(pidfd)
    shared.areas.append(started.area)
    _make_spare(shared)


def _make_spare(shared: Shared) -> None:
    """What cannot be made now is tried again when it is needed."""
    if not shared.spare:
        with contextlib.suppress(OSError):
            shared.spare.append(spare.make(shared.home))


def _tell(status: socket, word: bytes, rights: list[tuple[int, int, bytes]]) -> None:
    """A harness that gave up on a box has closed its end; the other boxes are not to suffer for it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        status.sendmsg([word], rights)


def _kill(boxes: dict[int, Started]) -> None:
    for pidfd in boxes:
        with contextlib.suppress(ProcessLookupError):
            sys_.pidfd_send_signal(pidfd, sys_.SIGKILL)

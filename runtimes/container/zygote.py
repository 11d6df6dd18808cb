"""The zygote: a small process of one thread from which every container is cloned.

A clone copies the parent's page tables, so its cost grows with the parent: a fraction of a millisecond from here,
several from a process that holds a harness. It also cannot be harmed by the harness's threads.

It serves requests over a SEQPACKET socket until that is closed, which also happens when the harness is killed; then it
kills every box and ends. It is no subreaper: whatever a box leaves behind is in the box's pid namespace, whose PID 1
inherits it and takes it along. It ignores nothing and logs nothing: a fault of its own ends it with a traceback.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import struct
import time
from _socket import AF_UNIX, CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket

from runtimes.container import capabilities, devices, netlink, privileges, spare
from runtimes.container import syscalls as sys_
from runtimes.container.enter import NAMESPACES, Descriptors, Shared, enter
from runtimes.container.plan import BIRTH, DEATH, MESSAGE_BYTES, MESSAGE_DESCRIPTORS, PIDFD, Failure, Link, Plan

_DESCRIPTORS = struct.Struct(f"={MESSAGE_DESCRIPTORS}i")


def serve(control_fd: int) -> None:
    """Serves until the harness is gone; leaves no box alive."""
    sys_.prctl(sys_.PR_SET_PDEATHSIG, sys_.SIGKILL)
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)  # a box on its way is a copy of this: nobody is to look into it or trace it
    sys_.unshare(sys_.CLONE_NEWNS)  # mounts of the host come in here and so to the boxes, and nothing ever goes back
    sys_.set_propagation("/", sys_.MS_REC | sys_.MS_SLAVE)
    os.umask(0)
    privileges.bound(capabilities.DEFAULT)
    sys_.close_range(control_fd + 1, 0)  # whatever the harness had open that exec let through
    control = socket(AF_UNIX, SOCK_SEQPACKET, 0, control_fd)
    filter_ = control.recv(MESSAGE_BYTES)
    lifeline, lifeline_write = os.pipe2(os.O_CLOEXEC)
    watch = select.poll()
    watch.register(lifeline, 0)
    shared = Shared(watch, lifeline_write, filter_, devices.load(), spare.own_network(), [])
    boxes: dict[int, socket] = {}
    poll = select.poll()
    poll.register(control_fd, select.POLLIN)
    gc.disable()  # a collection would write to, and so copy, pages shared with every child
    gc.freeze()
    control.send(b"ready")
    while True:
        for ready_fd, _ in poll.poll():
            if ready_fd != control_fd:
                poll.unregister(ready_fd)
                _reap(ready_fd, boxes.pop(ready_fd))
                continue
            request, ancillary, _, _ = control.recvmsg(MESSAGE_BYTES, CMSG_SPACE(_DESCRIPTORS.size), MSG_CMSG_CLOEXEC)
            if not request:
                _kill(boxes)
                return
            pidfd, status = _start(Plan.decode(request), _DESCRIPTORS.unpack(ancillary[0][2]), shared)
            if pidfd >= 0:
                boxes[pidfd] = status
                poll.register(pidfd, select.POLLIN)


def _start(plan: Plan, received: tuple[int, ...], shared: Shared) -> tuple[int, socket]:
    """Clones a box and tells its birth on its status socket; a clone that fails is told on its report pipe (-1)."""
    descriptors = Descriptors(*received[:4])
    if plan.link is not None:
        descriptors = descriptors._replace(linked=os.eventfd(0), host=netlink.open_socket())
    status = socket(AF_UNIX, SOCK_SEQPACKET, 0, received[4])
    step = "make its devices and network"
    try:
        if not shared.spare:
            shared.spare.append(spare.make(shared.home))
        step = "clone"
        pid, pidfd = _clone(plan, shared)
    except OSError as error:
        os.write(descriptors.report, Failure(step, error.errno or 0, error.strerror or "").encode())
        pid, pidfd = -1, -1
    if pid == 0:
        enter(plan, descriptors, shared)
    if pid > 0:
        born_s = time.monotonic()
        _tell(status, BIRTH.pack(born_s, pid), [(SOL_SOCKET, SCM_RIGHTS, PIDFD.pack(pidfd))])
        if plan.link is not None:
            os.eventfd_write(descriptors.linked, 1 + _link(plan.link, pid))
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
    if pid > 0 and not plan.join:
        _replace_spare(shared)
    return pidfd, status


def _replace_spare(shared: Shared) -> None:
    """While the box is on its way with the last one. What cannot be made now is tried again when it is needed."""
    spare.discard(shared.spare.pop())
    with contextlib.suppress(OSError):
        shared.spare.append(spare.make(shared.home))


def _clone(plan: Plan, shared: Shared) -> tuple[int, int]:
    if plan.join:
        return _clone_into(plan)
    folder = os.open(plan.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if plan.unified else None
    try:
        if folder is not None:
            sys_.attach_bpf(shared.devices, folder, sys_.BPF_CGROUP_DEVICE)
        return _clone_with_network(shared.home if plan.network == "host" else shared.spare[0].network, shared, folder)
    finally:
        if folder is not None:
            os.close(folder)


def _clone_with_network(network: int, shared: Shared, folder: int | None) -> tuple[int, int]:
    """The child is in the network its parent is in at that moment."""
    sys_.setns(network, sys_.CLONE_NEWNET)
    pid = -1
    try:
        pid, pidfd = sys_.clone3(NAMESPACES, folder)
        return pid, pidfd
    finally:
        if pid:
            sys_.setns(shared.home, sys_.CLONE_NEWNET)


def _clone_into(plan: Plan) -> tuple[int, int]:
    """A child in the pid namespace of a running box: only a parent can choose that. The box's first process is ours and
    not reaped, so its number is nobody else's."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    box = os.pidfd_open(plan.join)
    folder = os.open(plan.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if plan.unified else None
    pid = -1
    try:
        sys_.setns(box, sys_.CLONE_NEWPID)
        pid, pidfd = sys_.clone3(0, folder)
        return pid, pidfd
    finally:
        if pid:
            sys_.setns(own, sys_.CLONE_NEWPID)
        for descriptor in (own, box, folder):
            if descriptor is not None:
                os.close(descriptor)


def _link(link: Link, pid: int) -> int:
    """Makes the box's link while the box mounts; what went wrong is for the box to tell, as a step of its own."""
    try:
        netlink.make_link(link, pid)
    except OSError as error:
        return error.errno or 0
    return 0


def _reap(pidfd: int, status: socket) -> None:
    """Tells a box's end: its exit code, or the negative number of the signal that killed it."""
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if ended is not None:
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        _tell(status, DEATH.pack(code), [])
    status.close()
    os.close(pidfd)


def _tell(status: socket, word: bytes, rights: list[tuple[int, int, bytes]]) -> None:
    """A harness that gave up on a box has closed its end; the other boxes are not to suffer for it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        status.sendmsg([word], rights)


def _kill(boxes: dict[int, socket]) -> None:
    for pidfd in boxes:
        with contextlib.suppress(ProcessLookupError):
            sys_.pidfd_send_signal(pidfd, sys_.SIGKILL)

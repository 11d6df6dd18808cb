"""The child's way from clone to exec: a list of steps, each named as the words "could not …" want it.

Runs in a copy of the zygote, as PID 1 of the new namespaces. Rules that keep it fast and safe:
  * Import nothing: after `enter_root` every path is the image's.
  * Join the v1 cgroups by writing "0" to their `tasks` files: a write to `cgroup.procs` waits for a grace period of the
    kernel (7–15 ms on an idle host). The v2 cgroup was joined by the clone itself.
  * Join memory, cpu and cpuacct only after the mounts, so that the box is not charged for being set up. On v2 the
    clone has joined already, and the box's counters hold some milliseconds and pages of ours.
  * Unshare the cgroup namespace after all joins: its root is what the task is in at that moment.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
from _socket import AF_INET, SOCK_DGRAM, socket
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from runtimes.container import capabilities, masks, netlink, privileges, program, rootfs
from runtimes.container import syscalls as sys_
from runtimes.container.plan import Failure, Plan
from runtimes.container.spare import Spare

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_LOOPBACK_UP = struct.pack("16sh14x", b"lo", _IFF_UP)
_TASK_ITSELF = b"0"

NAMESPACES = sys_.CLONE_NEWNS | sys_.CLONE_NEWPID | sys_.CLONE_NEWIPC | sys_.CLONE_NEWUTS
"""And a network namespace, unless the box is to have the host's. The cgroup namespace is not among them: the child
unshares it once it has joined its cgroups."""


class Descriptors(NamedTuple):
    """What came with the request: the box's standard streams and where to say what failed.

    And with a link: where the zygote says how its making went, and a way to ask the host about it.
    """

    stdin: int
    stdout: int
    stderr: int
    report: int
    linked: int = -1
    host: int = -1


class Shared(NamedTuple):
    """What the zygote has for all boxes: two filters, and a pipe to be polled. When its last writer is gone, so is it.

    `spare` holds what was made for the next box before it is asked for; `home` is the host's network.
    """

    lifeline: select.poll
    lifeline_write: int
    filter: bytes
    devices: int
    home: int
    spare: list[Spare]


def enter(plan: Plan, descriptors: Descriptors, shared: Shared) -> NoReturn:
    """Becomes the box's first program, or says which step failed and ends."""
    step = "begin"
    try:
        for name in _steps(plan, descriptors, shared):
            step = name
    except OSError as error:
        failure = Failure(step, error.errno or 0, error.strerror or str(error))
    except BaseException as error:  # a fault of our own: told as well, and never let into the zygote's loop
        failure = Failure(step, 0, repr(error))
    os.write(descriptors.report, failure.encode())
    os._exit(127)


def _steps(plan: Plan, descriptors: Descriptors, shared: Shared) -> Iterator[str]:
    """Names a step, then does it when asked for the next one."""
    yield "tie its life to the zygote"
    os.close(shared.lifeline_write)
    _die_with_zygote(shared)
    yield "join its cgroups"
    late = _join_cgroups(plan)
    if plan.join:
        yield from _join_box(plan, late)
        yield from _run_program(plan, descriptors, shared)
        return
    yield "mount its root"
    mounts = rootfs.take_mounts(plan)
    rootfs.mount_root(plan)
    yield "enter its root"
    rootfs.enter_root(plan)
    yield from _furnish(plan, mounts, shared.spare[0].devices)
    yield "join its memory and CPU cgroups"
    for tasks in late:
        os.write(tasks, _TASK_ITSELF)
    yield "leave the host's cgroup namespace"
    sys_.unshare(sys_.CLONE_NEWCGROUP)
    if plan.unified:
        rootfs.mount_cgroup_view()
    yield "name itself"
    sys_.sethostname(plan.name)
    yield "bring up its network"
    _bring_up_network(plan, descriptors)
    yield "make read-only what it must not change"
    masks.protect()
    if plan.read_only:
        rootfs.protect_root()
    yield from _run_program(plan, descriptors, shared)


def _furnish(plan: Plan, mounts: list[int], devices: rootfs.Devices) -> Iterator[str]:
    yield "mount /proc and /sys"
    rootfs.mount_kernel_views()
    yield "mount its devices"
    rootfs.place_devices(devices)
    rootfs.make_tmp()
    yield "hide what is the host's"
    masks.cover()
    yield "mount what it was given"
    rootfs.place_mounts(plan, mounts)


def _join_box(plan: Plan, late: list[int]) -> Iterator[str]:
    """Into a box that runs. Unreadable from now on: what is in there may look into any process it can see."""
    yield "join its box"
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
    for tasks in late:
        os.write(tasks, _TASK_ITSELF)
    namespaces = NAMESPACES | sys_.CLONE_NEWCGROUP | (0 if plan.network == "host" else sys_.CLONE_NEWNET)
    box = os.pidfd_open(1)  # as it is numbered in there, where the clone has put us
    sys_.setns(box, namespaces & ~sys_.CLONE_NEWPID)
    os.close(box)


def _run_program(plan: Plan, descriptors: Descriptors, shared: Shared) -> Iterator[str]:
    yield "become an ordinary process"
    os.umask(0o022)
    program.take_streams(plan, (descriptors.stdin, descriptors.stdout, descriptors.stderr))
    yield "give up privileges"
    privileges.keep_only(capabilities.DEFAULT)
    yield f"become its user in {plan.working_dir or '/'}"
    program.become_user(plan)
    _die_with_zygote(shared)
    yield "confine itself"
    privileges.confine(shared.filter)
    yield f"execute {plan.argv[0]}"
    program.execute(plan)


def _die_with_zygote(shared: Shared) -> None:
    """The kernel's signal covers every death after this call, the pipe the ones before it.

    Asking for the parent's pid instead would not do: from inside a new pid namespace it is always 0.
    """
    sys_.prctl(sys_.PR_SET_PDEATHSIG, sys_.SIGKILL)
    if shared.lifeline.poll(0):
        os._exit(127)


def _join_cgroups(plan: Plan) -> list[int]:
    """Joins the early ones; returns the late ones opened, for when their paths are out of reach."""
    for path in plan.early:
        tasks = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(tasks, _TASK_ITSELF)
        os.close(tasks)
    if plan.cpuset:
        os.sched_setaffinity(0, plan.cpuset)  # the zygote's own mask may be narrower, and a v2 cpuset keeps it
    return [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in plan.late]


def _bring_up_network(plan: Plan, descriptors: Descriptors) -> None:
    """The zygote makes the link meanwhile, and says so by a number that is 1 more than what went wrong."""
    if plan.network in ("none", "host"):
        return
    any_socket = socket(AF_INET, SOCK_DGRAM)
    fcntl.ioctl(any_socket.fileno(), _SIOCSIFFLAGS, _LOOPBACK_UP)
    any_socket.close()
    _allow_ping()
    if plan.link is not None:
        code = os.eventfd_read(descriptors.linked) - 1
        if code:
            raise OSError(code, f"make its link: {os.strerror(code)}")
        netlink.use_link(plan.link)
        netlink.settle(descriptors.host, plan.link)


def _allow_ping() -> None:
    """Every group may open echo sockets, which see echoes only: so `ping` needs no raw socket, which sees all."""
    setting = os.open("/proc/sys/net/ipv4/ping_group_range", os.O_WRONLY | os.O_CLOEXEC)
    os.write(setting, b"0 2147483647")
    os.close(setting)

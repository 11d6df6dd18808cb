"""A box's way from clone to exec, as the calls its first process makes: steps, each named as "could not …" wants it.

Made as PID 1 of the new namespaces. Rules that keep it fast and safe:
  * Nothing of ours is looked for by a path after `enter_root`: every path is the image's.
  * Join the v1 cgroups by writing "0" to their `tasks` files: a write to `cgroup.procs` waits for a grace period of the
    kernel (7–15 ms on an idle host). The v2 cgroup was joined by the clone itself.
  * Join them only after the mounts, so that the box is not charged for being set up, and so that the harness can make
    them meanwhile. On v2 the clone has joined already, and the box's counters hold some pages of ours.
  * Unshare the cgroup namespace after all joins: its root is what the task is in at that moment.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from runtimes.container import capabilities, masks, privileges, program, rootfs
from runtimes.container import syscalls as sys_
from runtimes.container.calls import BUFFER, ERROR_MET, RESULT, SPACE, Calls
from runtimes.container.plan import Plan

_TASK_ITSELF = b"0"
_NO_TIME = b"\0" * 16
_AFFINITY_BITS = 64

NAMESPACES = sys_.CLONE_NEWNS | sys_.CLONE_NEWPID | sys_.CLONE_NEWIPC | sys_.CLONE_NEWUTS
"""And a network namespace, unless the box is to have the host's. The cgroup namespace is not among them: the child
unshares it once it has joined its cgroups."""


class Descriptors(NamedTuple):
    """What came with the request: the box's standard streams, where to say that something failed, and the gate."""

    stdin: int
    stdout: int
    stderr: int
    report: int
    gate: int


class Around(NamedTuple):
    """What a new box meets: its network namespace if it has one of its own, an eventfd that the zygote writes to when
    its devices are walled in and its network is there, and what of the host's files it is to have."""

    network: int | None
    ready: int
    given: list[rootfs.Given]


class Lifeline(NamedTuple):
    """A pipe nobody writes to: when its last writer is gone, so is the zygote."""

    read: int
    write: int


class Ways:
    """The parts of the way that are the same for all boxes, written once."""

    def __init__(self, lifeline: Lifeline, filter_: bytes) -> None:
        self._folders: dict[str, int] = {}
        self.begin = _begin(lifeline).keep()
        self.furnish = _furnish().keep()
        self.view = tuple(_leave_cgroups(unified=unified).keep() for unified in (False, True))
        self.protect = _protect().keep()
        self.settle = _settle().keep()
        self.end = _end(filter_).keep()

    def into_new(self, plan: Plan, descriptors: Descriptors, around: Around) -> Sequence[Calls]:
        """The whole way of a box's first process."""
        outside, inside, last = Calls(), Calls(), Calls()
        if around.network is not None:
            outside.step("enter its network")
            outside.call("setns", around.network, sys_.CLONE_NEWNET)
        outside.step("mount its root")
        outside.call("read", descriptors.gate, BUFFER, 8)
        rootfs.mount_root(outside, plan)
        outside.step("enter its root")
        rootfs.enter_root(outside, plan)
        inside.step("mount what it was given")
        rootfs.place_mounts(inside, around.given)
        inside.step("get its devices and network")
        inside.call("read", around.ready, BUFFER, 8)
        inside.compare(ERROR_MET, -1, 0, errno.EIO)
        inside.step("get its cgroups")
        inside.call("read", descriptors.gate, BUFFER, 8)
        self._join_cgroups(inside, plan)
        inside.step("name itself")
        name = os.fsencode(plan.name)
        inside.call("sethostname", name, len(name))
        parts = [self.begin, outside, self.furnish, inside, self.view[bool(plan.unified)], self.protect]
        if plan.read_only:
            rootfs.protect_root(last)
        return [*parts, *self._into_program(last, plan, descriptors)]

    def into_running(self, plan: Plan, descriptors: Descriptors) -> Sequence[Calls]:
        """Into a box that runs. Unreadable from now on: what is in there may look into any process it can see."""
        calls = Calls()
        self._join_cgroups(calls, plan)
        calls.step("join its box")
        _hide(calls)
        namespaces = NAMESPACES | sys_.CLONE_NEWCGROUP | (0 if plan.network == "host" else sys_.CLONE_NEWNET)
        # 1 as it is numbered in there, where the clone has put us
        calls.call("pidfd_open", 1, 0, store=RESULT)
        calls.call("setns", 0, namespaces & ~sys_.CLONE_NEWPID, on=RESULT)
        return [self.begin, calls, *self._into_program(Calls(), plan, descriptors)]

    def _join_cgroups(self, calls: Calls, plan: Plan) -> None:
        """By descriptors of the folders above, which are the same for all boxes and in reach from anywhere."""
        calls.step("join its cgroups")
        for path in plan.tasks:
            above, name, file = path.rsplit("/", 2)
            if above not in self._folders:
                self._folders[above] = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            tasks = f"{name}/{file}".encode()
            calls.call("openat", self._folders[above], tasks, os.O_WRONLY | os.O_CLOEXEC, store=RESULT, doing=path)
            calls.call("write", 0, _TASK_ITSELF, 1, on=RESULT, doing=path)
        if plan.cpuset:  # the zygote's own mask may be narrower, and a v2 cpuset keeps it
            words = [0] * (max(plan.cpuset) // _AFFINITY_BITS + 1)
            for cpu in plan.cpuset:
                words[cpu // _AFFINITY_BITS] |= 1 << cpu % _AFFINITY_BITS
            calls.call("sched_setaffinity", 0, len(words) * 8, struct.pack(f"={len(words)}Q", *words))

    def _into_program(self, calls: Calls, plan: Plan, descriptors: Descriptors) -> Sequence[Calls]:
        calls.step("become an ordinary process")
        program.take_streams(calls, plan, descriptors[:3])
        user, last = Calls(), Calls()
        user.step(f"become its user in {plan.working_dir or '/'}")
        program.become_user(user, plan)
        last.step(f"execute {plan.argv[0]}")
        program.execute(last, plan)
        return [calls, self.settle, user, self.end, last]


def _begin(lifeline: Lifeline) -> Calls:
    calls = Calls()
    calls.step("tie its life to the zygote")
    calls.call("close", lifeline.write)
    calls.put(SPACE, struct.unpack("=q", struct.pack("=ihh", lifeline.read, 0, 0))[0])
    _die_with_zygote(calls)
    return calls


def _furnish() -> Calls:
    calls = Calls()
    calls.step("mount /proc and /sys")
    rootfs.mount_kernel_views(calls)
    calls.step("mount its devices")
    rootfs.place_devices(calls)
    rootfs.make_tmp(calls)
    calls.step("hide what is the host's")
    masks.cover(calls)
    return calls


def _protect() -> Calls:
    calls = Calls()
    calls.step("make read-only what it must not change")
    masks.protect(calls)
    return calls


def _leave_cgroups(*, unified: bool) -> Calls:
    calls = Calls()
    calls.step("leave the host's cgroup namespace")
    calls.call("unshare", sys_.CLONE_NEWCGROUP)
    if unified:
        rootfs.mount_cgroup_view(calls)
    return calls


def _settle() -> Calls:
    calls = Calls()
    calls.step("become an ordinary process")
    program.leave_nothing(calls)
    calls.step("give up privileges")
    privileges.keep_only(calls, capabilities.DEFAULT)
    return calls


def _end(filter_: bytes) -> Calls:
    calls = Calls()
    calls.step("tie its life to the zygote")
    _die_with_zygote(calls)
    _hide(calls)  # where fs.suid_dumpable is on, becoming another user has undone it
    calls.step("confine itself")
    privileges.confine(calls, filter_)
    return calls


def _hide(calls: Calls) -> None:
    """From whoever could trace it or read its memory, which is or was the zygote's."""
    calls.call("prctl", sys_.PR_SET_DUMPABLE, 0, 0, 0, 0)


def _die_with_zygote(calls: Calls) -> None:
    """The kernel's signal covers every death after this call, the pipe the ones before it.

    Asking for the parent's pid instead would not do: from inside a new pid namespace it is always 0.
    """
    calls.call("prctl", sys_.PR_SET_PDEATHSIG, sys_.SIGKILL, 0, 0, 0)
    calls.call("ppoll", SPACE, 1, _NO_TIME, 0, 0, store=RESULT)
    calls.compare(RESULT, -1, 0, errno.ESRCH)

"""The harness's end of the zygote: starts it, asks it for boxes, holds the box's first process by its pidfd."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from harness.errors import TareError, TrialFailed, TrialTimeout, Unsupported
from runtimes.container import sealed
from runtimes.container.plan import BIRTH, DEATH, DESCRIPTOR, MESSAGE_BYTES, Failure, Plan

START_DEADLINE_S = 30.0
"""From request to exec; a start takes milliseconds, an overloaded host some more."""

END_DEADLINE_S = 10.0
_ROOT = Path(__file__).resolve().parents[2]
_CONTROL_FD = 3
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from runtimes.container.zygote import serve; serve(int(sys.argv[2]))"
)
_LOG_TAIL_BYTES = 2000
_HINTS = {
    ("mount its root", errno.ENODEV): "load overlayfs: modprobe overlay",
    ("mount its root", errno.EINVAL): "put TARE_HOME on a file system that an overlay can write to, like ext4",
    ("mount its root", errno.EROFS): "free some space where TARE_HOME is",
    ("clone", errno.ENOSPC): "raise the limits under /proc/sys/user/max_*_namespaces",
    ("clone", errno.ENOSYS): "use Linux 5.14 or newer, and no sandbox that forbids clone3",
}
_HOST_LACKS = (errno.ENOSYS, errno.ENODEV, errno.EPERM, errno.EOPNOTSUPP)


Step = Callable[[], None]


class StepFailed(TrialFailed):
    """A step between clone and exec that went wrong."""

    def __init__(self, name: str, failure: Failure) -> None:
        hint = _HINTS.get((failure.step, failure.errno), "")
        super().__init__(f"{name} could not {failure.step}: {failure.detail}", hint=hint)
        self.failure = failure


class Process:
    """The first process of a box, as long as it lives and until its end is known."""

    def __init__(self, status: socket.socket, birth: bytes, pidfd: int, mounts: int | None = None) -> None:
        self.born_s, self.pid = BIRTH.unpack(birth)
        self.executed_s = 0.0
        self.exit_code: int | None = None
        """Negative: the signal that ended it. None: not ended yet, or the zygote died before it could say."""
        self.failure = b""
        """Once it has ended: why its program was not executed, if that is so."""
        self._status = status
        self._pidfd = pidfd
        self._mounts = mounts

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kills it and with it, if it is PID 1 of its namespace, everything in the box. Harmless when it has ended.

        Another signal is sent as it is; a PID 1 that has no handler for it does not get it.
        """
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return

    def fileno(self) -> int:
        """Readable once its end is known: for those who wait for several."""
        return self._status.fileno()

    def ended(self, timeout_s: float) -> bool:
        """Whether it was reaped within that time: then nothing in the box runs any more."""
        if self.exit_code is not None:
            return True
        if not _readable(self._status.fileno(), timeout_s):
            return False
        death = self._status.recv(MESSAGE_BYTES)
        if death:
            (self.exit_code,) = DEATH.unpack_from(death)
            self.failure = death[DEATH.size :]
        return True

    def close(self) -> None:
        """Lets go of it, and of its mounts: the kernel takes them apart now."""
        self._status.close()
        os.close(self._pidfd)
        if self._mounts is not None:
            os.close(self._mounts)


class Launcher:
    """A zygote of one's own, which binds all its boxes to one seccomp filter.

    Must be made on a thread that lives as long: the kernel kills the zygote with it.
    """

    def __init__(self, log: Path, filter_: bytes) -> None:
        self._log = log
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.pid = _spawn(theirs.fileno(), log)
        self._control.send(filter_)
        self._running = True
        if not _readable(self._control.fileno(), START_DEADLINE_S) or not self._control.recv(MESSAGE_BYTES):
            self.close()
            raise TrialFailed("the zygote did not start", log=self._log_tail())

    def launch(
        self, plan: Plan, streams: Sequence[int], meanwhile: tuple[Step, Step] = (lambda: None, lambda: None)
    ) -> Process:
        """Starts a box, returns when its program was executed. `streams`: its stdin, stdout, stderr; stay the caller's.

        `meanwhile` is what is still to be done when the box is on its way: its folders, then its cgroups and limits.
        TrialFailed names the step that failed; Unsupported when it is the host that lacks something.
        """
        with ExitStack() as ours:
            with ExitStack() as theirs:
                status, status_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                theirs.enter_context(status_end)
                kept = ours.enter_context(status)
                report, report_end = os.pipe2(os.O_CLOEXEC)
                theirs.callback(os.close, report_end)
                ours.callback(os.close, report)
                gate = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
                theirs.callback(os.close, gate)
                self._request(plan, [*streams, report_end, gate, status_end.fileno()])
                try:
                    for step in meanwhile:
                        step()
                        os.eventfd_write(gate, 1)
                except BaseException:
                    theirs.close()  # else the end of the zygote would not be seen
                    with suppress(TareError, OSError):
                        _give_up(self._born(plan, kept, report, START_DEADLINE_S))
                    raise
            process = self._await_exec(plan, kept, report)
            ours.pop_all()
            os.close(report)
            return process

    def close(self) -> None:
        """Ends the zygote, and so every box it still has. Harmless twice."""
        self._control.close()
        if self._running:
            self._running = False
            pidfd = os.pidfd_open(self.pid)
            if not _readable(pidfd, END_DEADLINE_S):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            os.waitpid(self.pid, 0)

    @property
    def alive(self) -> bool:
        """Whether it can be asked for boxes; one that was killed from outside is reaped here."""
        if self._running and os.waitpid(self.pid, os.WNOHANG) != (0, 0):
            self._running = False
        return self._running

    def _request(self, plan: Plan, descriptors: list[int]) -> None:
        words = plan.encode()
        if len(words) > MESSAGE_BYTES:
            raise TrialFailed(
                f"{plan.name} could not be requested: its words and environment are {len(words)} bytes",
                hint=f"keep them, with what else there is to say of a box, below {MESSAGE_BYTES}",
            )
        try:
            rights = struct.pack(f"={len(descriptors)}i", *descriptors)
            self._control.sendmsg([words], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except (BrokenPipeError, ConnectionResetError):
            raise TrialFailed(f"{plan.name} could not be requested: the zygote is gone", log=self._log_tail()) from None

    def _await_exec(self, plan: Plan, status: socket.socket, report: int) -> Process:
        """The kernel tells by closing the report pipe. What else is known by then is only asked for when it is: to be
        woken before would be in the way of the box."""
        if not _readable(report, START_DEADLINE_S):
            with suppress(TareError, OSError):
                _give_up(self._born(plan, status, report, 0))
            raise TrialTimeout(f"{plan.name} was not started within {START_DEADLINE_S:g} s", log=self._log_tail())
        executed_s = time.monotonic()
        process = self._born(plan, status, report, START_DEADLINE_S)
        process.executed_s = executed_s
        if os.read(report, 1):
            process.ended(END_DEADLINE_S)
            _give_up(process)
            raise self._failed(plan, process.failure)
        return process

    def _born(self, plan: Plan, status: socket.socket, report: int, timeout_s: float) -> Process:
        """The process, on its way or further."""
        if not _readable(status.fileno(), timeout_s):
            raise TrialTimeout(f"{plan.name} was not born within {timeout_s:g} s", log=self._log_tail())
        # Not socket.recv_fds: it drops its flags, and the pidfd would be inherited by every program started later.
        room = socket.CMSG_SPACE(2 * DESCRIPTOR.size)
        birth, rights, _, _ = status.recvmsg(BIRTH.size, room, socket.MSG_CMSG_CLOEXEC)
        if not birth:
            raise self._failed(plan, os.read(report, MESSAGE_BYTES))
        if not rights:  # there was no number left for its pidfd; nobody else can have its pid before it is reaped
            os.kill(BIRTH.unpack(birth)[1], signal.SIGKILL)
            raise OSError(errno.EMFILE, f"{plan.name} was given up: {os.strerror(errno.EMFILE)}")
        return Process(status, birth, *(number for (number,) in DESCRIPTOR.iter_unpack(rights[0][2])))

    def _failed(self, plan: Plan, encoded: bytes) -> TareError:
        if not encoded and self.alive:
            hint = "stop some boxes, or raise the limit of open files (ulimit -n)"
            return TrialFailed(f"{plan.name} was not started: its zygote has no descriptors left", hint=hint)
        if not encoded:
            return TrialFailed(f"{plan.name} was not started: the zygote is gone", log=self._log_tail())
        failure = Failure.decode(encoded)
        error = StepFailed(plan.name, failure)
        if failure.errno in _HOST_LACKS and not failure.step.startswith("execute"):
            return Unsupported(error.message, hint=error.hint)
        return error

    def _log_tail(self) -> str:
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


def _spawn(control: int, log: Path) -> int:
    """The interpreter with nothing but its standard library, in a session of its own: Ctrl-C is for the harness."""
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT), str(_CONTROL_FD)]
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), write, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        (os.POSIX_SPAWN_DUP2, control, _CONTROL_FD),
    ]
    defaults = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    with sealed.interpreter() as program:
        return os.posix_spawn(program, argv, {}, file_actions=actions, setsid=True, setsigmask=(), setsigdef=defaults)


def _give_up(process: Process) -> None:
    process.kill()
    process.ended(END_DEADLINE_S)
    process.close()


def _readable(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))

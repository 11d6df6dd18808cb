"""The baseline: the same agent and the same busybox as a plain child process, on the same CPUs, in no box at all.

The image's tree is used where it lies in the store: PATH and TARE_ROOT point there, there is no chroot. The process
joins a cgroup only when a gauge first asks for one, after it is ready, and only for CPU accounting: joining costs up
to 15 ms on an idle host, and a baseline that pays for that is not a baseline.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import agent, cgroups, oci
from harness.contract import Completed, Workspace
from harness.errors import TrialFailed
from harness.model import Artifact, Feature, Image, Phase, Prepared, Role, Spec, Support

_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.0005


class NativeInstance:
    """A plain process tree, in a session of its own so that all of it can be ended at once."""

    address = "127.0.0.1"

    def __init__(self, spec: Spec, process: subprocess.Popen[bytes], began_s: float, tmp: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.name = spec.name
        self._process = process
        self._spawned_s = time.monotonic()
        self._began_s = began_s
        self._tmp = tmp
        self._cgroup: cgroups.Cgroup | None = None
        self._channel = agent.Channel(
            process.stdout.fileno(), process.stdin.fileno(), name=spec.name, log_tail=self._log_tail
        )

    @property
    def cgroup(self) -> cgroups.Cgroup | None:
        """For CPU time only: what ran before it was first asked for is not counted."""
        if self._cgroup is None and cgroups.hierarchies().permitted:
            self._cgroup = cgroups.Cgroup.create(self.name, cgroups.Limits(), controllers=("cpuacct",))
            for pid in self.pids():
                self._cgroup.join(pid)
        return self._cgroup

    @property
    def disk_paths(self) -> Sequence[Path]:
        return (self._tmp,)

    def wait_ready(self, timeout_s: float) -> None:
        self._channel.wait_ready(timeout_s)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return self._channel.run(argv, timeout_s)

    def pids(self) -> frozenset[int]:
        """Everything in the agent's session: a command's children stay in it when the command has ended."""
        return frozenset(pid for pid in map(int, _numbered(Path("/proc"))) if _session(pid) == self._process.pid)

    def phases(self) -> Sequence[Phase]:
        phases = [Phase("create", self._began_s, self._spawned_s)]
        if self._channel.ready_at_s:
            phases.append(Phase("userspace", self._spawned_s, self._channel.ready_at_s))
        return phases

    def documents(self) -> Mapping[str, str]:
        return {"command": " ".join(map(str, self._process.args)) if isinstance(self._process.args, list) else ""}

    def stop(self) -> None:
        """SIGKILL to the whole session; the agent holds nothing worth saving. Every step is taken, whatever fails."""
        with ExitStack() as steps:
            if self._cgroup is not None:
                steps.callback(self._cgroup.remove)
            steps.callback(self._close_pipes)
            pids = self.pids()
            for pid in pids - {self._process.pid}:
                steps.callback(_wait_until_gone, pid, time.monotonic() + _STOP_TIMEOUT_S)
            steps.callback(self._wait)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _wait(self) -> None:
        """Waits for the agent's end by its pidfd: `Popen.wait` with a limit looks every few milliseconds only."""
        if self._process.poll() is None:
            pidfd = os.pidfd_open(self._process.pid)
            try:
                select.select([pidfd], [], [], _STOP_TIMEOUT_S)
            finally:
                os.close(pidfd)
        self._process.wait(_STOP_TIMEOUT_S)

    def _log_tail(self) -> str:
        code = self._process.poll()
        return "" if code is None else f"the agent ended with {code}"


def _numbered(folder: Path) -> Iterator[str]:
    return (entry.name for entry in folder.iterdir() if entry.name.isdigit())


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _wait_until_gone(pid: int, deadline_s: float) -> None:
    """Orphans come to us when we are a subreaper, and then only we can reap them; else they are init's to reap."""
    while time.monotonic() < deadline_s:
        try:
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                return
        except ChildProcessError:
            if _state(pid) in ("", "Z"):
                return
        time.sleep(_POLL_S)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


class NativeRuntime:
    name = "native"

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def probe(self) -> Support:
        return Support(available=True, version=f"Linux {os.uname().release}", features=(Feature.EXEC, Feature.NETWORK))

    def prepare(self, image: Image) -> Prepared:
        layers = (
            Artifact(role=Role.LAYER, path=layer.path, compressed=oci.is_compressed(layer.media_type))
            for layer in image.layers
        )
        return Prepared(image=image, artifacts=(Artifact(role=Role.ROOT, path=image.root), *layers))

    @contextmanager
    def start(self, spec: Spec) -> Iterator[NativeInstance]:
        began_s = time.monotonic()
        tmp = self._workspace.scratch / spec.name
        tmp.mkdir(parents=True)
        try:
            instance = NativeInstance(spec, self._spawn(spec, tmp), began_s, tmp)
            try:
                yield instance
            finally:
                instance.stop()
        finally:
            shutil.rmtree(tmp, ignore_errors=True)

    def _spawn(self, spec: Spec, tmp: Path) -> subprocess.Popen[bytes]:
        """The child inherits our CPU set for the moment of the spawn: no code of ours runs between fork and exec."""
        root = spec.prepared.image.root
        argv = [root + part if part.startswith("/") else part for part in agent.ARGV]
        own_cpus = os.sched_getaffinity(0)
        if spec.cpuset:
            os.sched_setaffinity(0, spec.cpuset)
        try:
            return subprocess.Popen(
                argv,
                env=agent.environment(root=root, tmp=str(tmp)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise TrialFailed(f"cannot start {argv[0]}: {error.strerror}") from None
        finally:
            if spec.cpuset:
                os.sched_setaffinity(0, own_cpus)

    def close(self) -> None:
        """Nothing is shared between instances."""

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        """Ends agents of dead runs: they are found by the mark in the TARE_TMP of their environment."""
        swept = []
        for pid in _numbered(Path("/proc")):
            name = _box_of(Path("/proc", pid))
            if name and not live(name):
                os.kill(int(pid), signal.SIGKILL)
                swept.append(f"ended process {pid} of {name}")
        return swept


def _box_of(process: Path) -> str:
    """The box a native agent belongs to, from its environment; empty for every other process."""
    try:
        environ = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    for variable in environ:
        key, _, value = variable.partition(b"=")
        if key == b"TARE_TMP" and b"/native/tare-" in value:
            return Path(os.fsdecode(value)).name
    return ""

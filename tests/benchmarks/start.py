"""How long it takes from asking for a container to having seen its `/bin/true` end, beside the tools people have.

Every contestant runs the same static program of the same unpacked root file system. Ours has all its namespaces but
user, a cgroup with limits for memory, CPU and processes, an overlay, masked paths, capabilities, no_new_privs and the
filter of system calls, and is asked in-process, which is how the harness asks it: its zygote is running and has the
next box's network namespace and the mounts of its /dev ready. Nothing else is pooled or warmed: every folder, cgroup
and process is made anew. crun and runc run their own default specification with the same limits, on the root as it is
(no overlay, no filter); bwrap and unshare(1) make namespaces only. Their times hold what it takes to execute the tool,
since that is how they are used, and to remove what it made; of ours, that is in the rows "until nothing is left".

"ours" keeps the overlay's upper layer in memory, as no other contestant touches a disk; "ours on disk" keeps it where
an ordinary run does. What that adds is the file system's: it is shared with everything else the host does.

The contestants take turns, one start each, so that a busy moment of the host hits them alike. "after idle" means 0.4 s
of sleep before every start, when the kernel's own grace periods are longest.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from harness import images, marks, proc
from harness.contract import Workspace
from harness.errors import TareError
from harness.model import Image, Prepared, Spec
from runtimes.container.driver import ContainerRuntime
from runtimes.container.planning import Command
from tests.benchmarks.frame import Row

HOT_ROUNDS, IDLE_ROUNDS, WARM_UP = 120, 40, 5
IDLE_S = 0.4
SEQUENTIAL, AT_ONCE = 300, (8, 32)
GROWTH_STARTS = 1000
MEMORY_BYTES, CPUS, PIDS = 256 << 20, 1.0, 1024
TRUE = Command(("/bin/true",), (("PATH", "/bin"),))

IN_MEMORY = "/dev/shm"
TARE = str(Path(sys.executable).with_name("tare"))
COMMANDS = 20

SPAWNER = """
import json, os, sys, time
silent = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
for line in sys.stdin:
    argv, total, at_once = json.loads(line)
    began, seconds, failed, started, first = {}, [], 0, 0, time.monotonic()
    while len(seconds) < total:
        while started < total and len(began) < at_once:
            words = [word.replace("%n", str(started)) for word in argv]
            now = time.monotonic()
            began[os.posix_spawn(words[0], words, os.environ, file_actions=silent)] = now
            started += 1
        pid, status = os.wait()
        seconds.append(time.monotonic() - began.pop(pid))
        failed += status != 0
    print(json.dumps([failed, seconds, time.monotonic() - first]), flush=True)
"""
"""Starts programs and watches them end, in a small process of its own: what a caller of a tool pays at least."""

Start = Callable[[], float]
"""Starts one and returns the seconds until its end was seen."""


class Spawner:
    """A process that starts programs, in a mount namespace of its own where `hidden` is not mounted."""

    def __init__(self, home: Path, hidden: Path | None) -> None:
        private = ["unshare", "--mount", "--propagation", "private"]
        script = 'if [ "$1" ]; then umount "$1"; fi; exec "$2" -I -S -c "$3"'
        argv = [*private, "sh", "-c", script, "sh", str(hidden or ""), sys.executable, SPAWNER]
        env = os.environ | {"TARE_HOME": str(home)}
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def run(self, argv: list[str], total: int = 1, at_once: int = 1) -> tuple[list[float], float]:
        """Seconds of each, and of all; `%n` in a word becomes the number of the start."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([argv, total, at_once]) + "\n")
        self._process.stdin.flush()
        failed, seconds, wall_s = json.loads(self._process.stdout.readline())
        if failed:
            raise TareError(f"{argv[0]} failed {failed} of {total} times")
        return seconds, wall_s

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass
class Ours:
    """The built-in container, asked in-process. `gone_s` holds what each teardown took."""

    runtime: ContainerRuntime
    prepared: Prepared
    mark: str
    scratch: Path
    gone_s: list[float] = field(default_factory=list)

    def start(self, network: str = "none") -> float:
        spec = Spec(
            name=f"{self.mark}-{next(NUMBERS)}",
            prepared=self.prepared,
            memory_bytes=MEMORY_BYTES,
            cpus=CPUS,
            pids=PIDS,
            network=network,
        )
        began_s = time.monotonic()
        with self.runtime.execute(spec, TRUE, (NULL, NULL, NULL)) as box:
            if not box.process.ended(30) or box.process.exit_code != 0:
                raise TareError(f"/bin/true ended with {box.process.exit_code}")
            ended_s = time.monotonic()
        self.gone_s.append(time.monotonic() - ended_s)
        return ended_s - began_s

    def zygote_kib(self) -> int:
        """The resident memory of the zygote: the child of ours that writes this log."""
        log = self.scratch / "zygote.log"
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            if Path(f"/proc/{pid}/fd/1").readlink() == log:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        raise TareError("there is no zygote")


NUMBERS = count()
NULL = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)


def bundle(folder: Path, image: Image, tool: str, mark: str) -> list[str]:
    """A command line of an OCI runtime, on its own default specification with our limits."""
    folder.mkdir()
    proc.run([tool, "spec"], cwd=folder)
    spec = json.loads((folder / "config.json").read_text())
    spec["process"] |= {"terminal": False, "args": list(TRUE.argv), "rlimits": []}
    spec["root"] = {"path": image.root, "readonly": False}
    spec["linux"]["resources"] |= {
        "memory": {"limit": MEMORY_BYTES},
        "cpu": {"quota": int(CPUS * 100_000), "period": 100_000},
        "pids": {"limit": PIDS},
    }
    (folder / "config.json").write_text(json.dumps(spec))
    return [_path(tool), "--root", str(folder / "state"), "run", "--bundle", str(folder), f"{mark}-{tool}-%n"]


def _path(tool: str) -> str:
    return proc.run(["sh", "-c", f"command -v {tool}"], hint=f"apt-get install {tool}").strip()


def command_lines(image: Image, folder: Path, mark: str) -> dict[str, list[str]]:
    """The others, as they are called. crun refuses a hybrid host's v2 tree, so its spawner hides that."""
    lines = {
        "posix_spawn": [f"{image.root}/bin/true"],
        "unshare": [_path("unshare"), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork"],
        "bwrap": [_path("bwrap"), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"],
        "crun": bundle(folder / "crun", image, "crun", mark),
        "runc": bundle(folder / "runc", image, "runc", mark),
    }
    lines["unshare"] += [f"--root={image.root}", "/bin/true"]
    lines["bwrap"] += ["--unshare-cgroup", "--bind", image.root, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]
    return lines


@dataclass
class Field:
    """All contestants, ready to start."""

    ours: Ours
    on_disk: Ours
    lines: dict[str, list[str]]
    spawner: Spawner
    v1_only: Spawner

    def starts(self) -> dict[str, Start]:
        ours: dict[str, Start] = {"ours": self.ours.start, "ours on disk": self.on_disk.start}
        return ours | {name: self._start(name) for name in self.lines}

    def _start(self, name: str) -> Start:
        return lambda: self.run(name, 1)[0][0]

    def run(self, name: str, total: int) -> tuple[list[float], float]:
        """Starts one of the tools so many times, one after the other."""
        return (self.v1_only if name == "crun" else self.spawner).run(self.lines[name], total)


@contextmanager
def field_of_contestants() -> Iterator[Field]:
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="tare-bench-")))
        mark = undo.enter_context(marks.claimed(marks.new_id()))
        store = folder / "home"
        image = images.build_tiny(store)
        memory = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="tare-bench-", dir=IN_MEMORY)))
        ours, on_disk = (undo.enter_context(_ours(store, place, mark, image)) for place in (memory, folder))
        unified = Path("/sys/fs/cgroup/unified")
        spawners = [Spawner(store, hidden) for hidden in (None, unified if unified.is_mount() else None)]
        for spawner in spawners:
            undo.callback(spawner.close)
        yield Field(ours, on_disk, command_lines(image, folder, mark), *spawners)


@contextmanager
def _ours(store: Path, place: Path, mark: str, image: Image) -> Iterator[Ours]:
    runtime = ContainerRuntime(Workspace(store=store, scratch=place / "scratch", mark=mark))
    try:
        support = runtime.probe()
        if not support.available:
            raise TareError(support.reason)
        yield Ours(runtime, runtime.prepare(image), mark, place / "scratch")
    finally:
        runtime.close()


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that is measured together, since it takes turns."""

    hot: dict[str, list[float]]
    idle: dict[str, list[float]]
    gone_hot: list[float]
    gone_idle: list[float]
    bridge_extra: list[float]
    sequential_s: float
    crun_sequential_s: float
    rates: dict[int, float]
    zygote_kib: tuple[int, int]
    commands: list[float]


def turns(starts: dict[str, Start], rounds: int, idle_s: float) -> dict[str, list[float]]:
    """Each contestant once a round; the first rounds are for warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(WARM_UP + rounds):
        for name, start in starts.items():
            if idle_s:
                select.poll().poll(idle_s * 1000)
            took_s = start()
            if number >= WARM_UP:
                seconds[name].append(took_s)
    return seconds


def measured() -> Measured:
    """Measures once, however many rows ask; what went wrong is not tried again either."""
    outcome = _outcome()
    if isinstance(outcome, TareError):
        raise outcome
    return outcome


@cache
def _outcome() -> Measured | TareError:
    try:
        return _measure()
    except TareError as error:
        return error


def _measure() -> Measured:
    with field_of_contestants() as contestants:
        ours, starts = contestants.ours, contestants.starts()
        hot = turns(starts, HOT_ROUNDS, 0)
        gone_hot = ours.gone_s[WARM_UP:]
        ours.gone_s.clear()
        idle = turns(starts, IDLE_ROUNDS, IDLE_S)
        gone_idle = ours.gone_s[WARM_UP:]
        linked = turns({"none": ours.start, "bridge": lambda: ours.start("bridge")}, HOT_ROUNDS, 0)
        sequential_s = _seconds(lambda: [ours.start() for _ in range(SEQUENTIAL)])
        _, crun_s = contestants.run("crun", SEQUENTIAL // 3)
        commands, _ = contestants.spawner.run([TARE, "box", "run", "--rm", "tiny", *TRUE.argv], COMMANDS + 1)
        rates = {at_once: _rate(ours, at_once) for at_once in AT_ONCE}
        before_kib = ours.zygote_kib()
        for _ in range(GROWTH_STARTS):
            ours.start()
        return Measured(
            hot=hot,
            idle=idle,
            gone_hot=gone_hot,
            gone_idle=gone_idle,
            bridge_extra=[
                with_s - without_s for with_s, without_s in zip(linked["bridge"], linked["none"], strict=True)
            ],
            sequential_s=sequential_s / SEQUENTIAL,
            crun_sequential_s=crun_s / (SEQUENTIAL // 3),
            rates=rates,
            zygote_kib=(before_kib, ours.zygote_kib()),
            commands=commands[1:],
        )


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


def _rate(ours: Ours, at_once: int) -> float:
    """Starts per second with so many askers at once."""
    with ThreadPoolExecutor(at_once) as pool:
        wall_s = _seconds(lambda: list(pool.map(lambda _: ours.start(), range(SEQUENTIAL))))
    return SEQUENTIAL / wall_s


def _named(name: str, make: Callable[[], Row]) -> Callable[[], Row]:
    """A row's function, under the name that `--only` looks at."""
    make.__name__ = name
    return make


def _milliseconds(what: str, values: Callable[[], list[float]]) -> Callable[[], Row]:
    return _named(what, lambda: Row(what, "ms", tuple(value * 1000 for value in values())))


def _p95(what: str, values: Callable[[], list[float]], at_most: float | None = None) -> Callable[[], Row]:
    """One number: the value that 95 of 100 do not exceed."""

    def make() -> Row:
        found = sorted(values())
        return Row(what, "ms", (found[int(len(found) * 0.95)] * 1000,), at_most=at_most)

    return _named(what, make)


def _ratios(other: str, after: str, at_most: float) -> Iterator[Callable[[], Row]]:
    """Ours over theirs, turn by turn, with either place for the upper layer."""
    for name in ("ours", "ours on disk"):

        def make(name: str = name) -> Row:
            seconds: dict[str, list[float]] = getattr(measured(), after)
            pairs = zip(seconds[name], seconds[other], strict=True)
            return Row(
                f"{name} ÷ {other}, {after}", "", tuple(ours / theirs for ours, theirs in pairs), at_most=at_most
            )

        yield _named(f"ratio {name} {other} {after}", make)


def _times(name: str, after: str) -> Iterator[Callable[[], Row]]:
    def values() -> list[float]:
        found: list[float] = getattr(measured(), after)[name]
        return found

    yield _milliseconds(f"{name}, {after}", values)
    yield _p95(f"{name}, {after}, p95", values)


def per_start_in_sequence() -> Row:
    """300 starts a second are 3.33 ms for each, teardown included."""
    return Row(
        "one of 300 starts in sequence, gone included", "ms", (measured().sequential_s * 1000,), at_most=1000 / 300
    )


def crun_in_sequence() -> Row:
    return Row("the same of crun", "ms", (measured().crun_sequential_s * 1000,))


def rate_of_8() -> Row:
    return Row("starts per second, 8 at once", "/s", (measured().rates[8],))


def rate_of_32() -> Row:
    return Row("starts per second, 32 at once", "/s", (measured().rates[32],))


def bridge() -> Row:
    """What a veth pair on a bridge adds, turn by turn."""
    extra = tuple(value * 1000 for value in measured().bridge_extra)
    return Row("a link on a bridge adds", "ms", extra, at_most=1.5)


def zygote_memory() -> Row:
    return Row("zygote, resident", "MiB", (measured().zygote_kib[1] / 1024,), at_most=14)


def zygote_growth() -> Row:
    before_kib, after_kib = measured().zygote_kib
    return Row(f"zygote, growth over {GROWTH_STARTS} starts", "KiB", (float(after_kib - before_kib),), at_most=0)


CONTESTANTS = ("ours", "ours on disk", "posix_spawn", "unshare", "bwrap", "crun", "runc")
ROWS = (
    *(row for after in ("hot", "idle") for name in CONTESTANTS for row in _times(name, after)),
    *_ratios("crun", "hot", 0.45),
    *_ratios("crun", "idle", 0.35),
    *_ratios("runc", "hot", 0.15),
    *_ratios("bwrap", "hot", 0.8),
    *_ratios("posix_spawn", "hot", 4),
    per_start_in_sequence,
    crun_in_sequence,
    rate_of_8,
    rate_of_32,
    bridge,
    _milliseconds("`tare box run --rm` as a command", lambda: measured().commands),
    zygote_memory,
    zygote_growth,
    _milliseconds("ours, from end seen until nothing is left, hot", lambda: measured().gone_hot),
    _p95("ours, from end seen until nothing is left, hot, p95", lambda: measured().gone_hot, at_most=5),
    _milliseconds("ours, from end seen until nothing is left, idle", lambda: measured().gone_idle),
)

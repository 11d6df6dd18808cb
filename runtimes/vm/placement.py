"""How QEMU gets into its box's cgroup, although libvirt starts it.

libvirt is told to start a five-line shell script that enters the cgroup by itself and then becomes QEMU. So QEMU is
born with its limits, and every byte and cycle of it is charged to the box, on v1 and v2 alike.

Considered, and measured on an idle hybrid host:
  * moving the paused QEMU by writing its pid to `cgroup.procs`: 4–23 ms of waiting for the kernel in each hierarchy,
    and what QEMU had allocated until then (10 MB) stays charged to the harness;
  * calling libvirt from a thread that is in the box's v1 cgroups: 0.3–1 ms, but libvirt's own threads are born in
    there too and stay, so that our own process counts as a member, and dies with the box.
The script costs 1 ms, because a task that writes "0" to a v1 `tasks` file does not wait. v2 has no such file: there the
wait is part of the start (7–25 ms). On a hybrid host, where v2 only counts, it happens while the guest boots.

Who may not make cgroups has none, and a box that needs no limit but its CPUs, which libvirt pins, runs all the same.

A daemon behind another URI starts QEMU by itself: there the paused QEMU is moved, and what it had allocated until then
stays charged where it was.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

from harness import paths
from harness.cgroups import UNIFIED, Cgroup
from harness.errors import TrialFailed
from runtimes.vm import processes

BOXES = "boxes"
"""Where announcements lie, beside the script."""


def install(folder: Path, qemu: Path) -> Path:
    """Writes the script for this QEMU and returns its path, the same every time: libvirt caches what it learns."""
    (folder / BOXES).mkdir(parents=True, exist_ok=True)
    script = folder / qemu.name
    text = (resources.files("runtimes.vm") / "emulator.sh").read_text().replace("@QEMU@", str(qemu))
    if not script.exists() or script.read_text() != text:
        paths.write_atomically(script, text.encode())
    if not os.access(script, os.X_OK):
        script.chmod(0o755)
    return script


@contextmanager
def announced(script: Path, name: str, cgroup: Cgroup | None) -> Iterator[None]:
    """While the block runs, a QEMU of that name enters the cgroup, becomes our child and is collected if it dies.

    libvirt waits 40 s for the pid of a QEMU that failed to start, for as long as nobody collects it.
    """
    entry = script.parent / BOXES / name
    pipe = entry.with_name(f"{entry.name}.pid")
    with ExitStack() as stack:
        stack.callback(entry.unlink, missing_ok=True)
        entry.write_text("".join(f"{file}\n" for file in _entrances(cgroup)))
        os.mkfifo(pipe)
        stack.callback(pipe.unlink)
        # Opened here, before QEMU is: its end would wait for ours.
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, reader)
        over, end = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, over)
        collector = threading.Thread(target=_collect, args=(reader, over), name="tare-collect")
        collector.start()
        stack.callback(collector.join)
        stack.callback(os.close, end)
        with processes.adoption(True):
            yield


def _entrances(cgroup: Cgroup | None) -> list[Path]:
    """The files by which a task enters it."""
    if cgroup is None:
        return []
    return sorted(path / "tasks" for path in _v1(cgroup)) or [cgroup.paths[UNIFIED] / "cgroup.procs"]


def _collect(pipe: int, over: int) -> None:
    """Waits for the pid, then for its process, until told that the start is over."""
    if pipe not in select.select([pipe, over], [], [])[0]:
        return
    with contextlib.suppress(ProcessLookupError):  # dead and collected already
        qemu = processes.Handle(int(os.read(pipe, 32)))
        if qemu.ended_before(over):
            qemu.wait(0.0)
        qemu.close()


class UnifiedMove:
    """Moves QEMU into the v2 hierarchy of a hybrid host in the background. Nothing to do anywhere else."""

    def __init__(self, cgroup: Cgroup | None, pid: int) -> None:
        self._pid = pid
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None
        if cgroup and UNIFIED in cgroup.paths and _v1(cgroup):
            target = cgroup.paths[UNIFIED] / "cgroup.procs"
            self._thread = threading.Thread(target=self._move, args=(target,), name="tare-move")
            self._thread.start()

    def _move(self, target: Path) -> None:
        try:
            target.write_text(str(self._pid))
        except ProcessLookupError:
            return  # QEMU ended first: the trial fails by its channel
        except OSError as error:
            self._error = error

    def join(self) -> None:
        """Returns when it has been moved."""
        if self._thread:
            self._thread.join()
        if self._error:
            raise TrialFailed(f"QEMU ({self._pid}) could not be moved into its cgroup: {self._error}")


def _v1(cgroup: Cgroup) -> set[Path]:
    return {path for key, path in cgroup.paths.items() if key != UNIFIED}

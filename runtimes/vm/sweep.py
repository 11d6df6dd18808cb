"""What a killed run leaves: QEMUs, folders for sockets, cgroups. Only what bears the mark of a dead run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness import marks
from harness.cgroups import leftovers
from harness.errors import TareError
from runtimes.vm.connection import EMULATOR, ROOT_SUFFIX, abandoned
from runtimes.vm.processes import Handle


def sweep(announcements: Path, live: Callable[[str], bool]) -> Sequence[str]:
    """Removes and tells. QEMUs first: their cgroups and folders are in use until then."""
    done = [said for pid, name in sorted(running()) if not live(name) and (said := end(pid, name))]
    return [*done, *_cgroups(live), *_folders(live), *_announcements(announcements, live)]


def end(pid: int, name: str) -> str:
    """Ends that QEMU and says so; nothing when the number is another process's by now.

    The name is read again once the process is held, so that a number that was given away is never hit.
    """
    try:
        handle = Handle(pid)
    except ProcessLookupError:
        return ""
    with contextlib.closing(handle):
        if _box_name(Path("/proc", str(pid))) != name:
            return ""
        try:
            handle.kill()
        except TareError as error:
            return f"could not end the virtual machine {name}: {error.message}"
    return f"ended the virtual machine {name} (process {pid})"


def running() -> Iterator[tuple[int, str]]:
    """Every QEMU of ours that libvirt was told to call by one of our names. Other users' runs are theirs to sweep."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (name := _box_name(entry)):
            yield int(entry.name), name


def _box_name(entry: Path) -> str:
    try:
        if entry.stat().st_uid != os.geteuid():
            return ""
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if Path(words[0]).name != EMULATOR or "-name" not in words[:-1]:
        return ""
    found = re.match(r"guest=(tare-[^,]*)", words[words.index("-name") + 1])
    return found[1] if found else ""


def _cgroups(live: Callable[[str], bool]) -> Iterator[str]:
    for name, cgroup in sorted(leftovers(marks.PREFIX).items()):
        if not live(name) and not cgroup.pids():  # one with members is another runtime's to end
            cgroup.remove()
            yield f"removed the cgroup {name}"


def _folders(live: Callable[[str], bool]) -> Iterator[str]:
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{marks.PREFIX}*{ROOT_SUFFIX}*")):
        mark = folder.name.rpartition(ROOT_SUFFIX)[0]
        ours = folder.lstat().st_uid == os.geteuid() and not folder.is_symlink()
        if ours and not live(f"{mark}-0") and abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            yield f"removed {folder}"


def _announcements(folder: Path, live: Callable[[str], bool]) -> Iterator[str]:
    for path in sorted(folder.glob(f"{marks.PREFIX}*")):
        if not live(path.name):
            path.unlink(missing_ok=True)
            yield f"removed {path}"

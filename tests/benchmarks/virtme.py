"""virtme-ng, the tool that kernel developers boot a kernel with: the host's files over 9p, an initramfs made each time.

It is installed at its pinned version into an environment of its own, never into the project's. The cloud kernel has no
9p and the virtiofsd of Debian 12 is another program than the one virtme-ng starts, so both sides boot the
distribution's usual kernel.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import proc
from harness.errors import TareError
from tests.benchmarks.bare_qemu import READY_TIMEOUT_S

KERNEL_PACKAGE = "linux-image-amd64"
_VERSION = "1.42"
_LOOK_S = 0.001


def installed(home: Path) -> Path:
    """Its program, installed on first use."""
    folder = home / "bench" / f"virtme-ng-{_VERSION}"
    if not folder.exists():
        # Scripts name the interpreter by its place, so the folder cannot be made elsewhere and moved.
        made = folder / ".unfinished"
        made.mkdir(parents=True)
        proc.run([sys.executable, "-m", "venv", str(folder)], timeout_s=300.0)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", f"virtme-ng=={_VERSION}"]
        proc.run(install, timeout_s=300.0, hint="it comes from PyPI")
        made.rmdir()
    if (folder / ".unfinished").exists():
        raise TareError(f"{folder} was left unfinished", hint="remove it, and run this again")
    return folder / "bin" / "virtme-run"


def ready_s(program: Path, kernel: Path, folder: Path, cpu: int) -> float:
    """Seconds from starting it to the first act of a program inside: a file made in a folder that it shares."""
    ready = folder / "ready"
    argv = [
        *(str(program), "--kimg", str(kernel), "--mods", "auto", "--disable-kvm", "--force-9p", "--cpus", "1"),
        *("--memory", "256M", "--rwdir", str(folder), "--script-sh", f"echo >{ready}"),
    ]
    own_cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    began_s = time.monotonic()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder)},  # what it leaves when it is ended goes with the folder
            start_new_session=True,  # so that its QEMU ends with it
        )
    finally:
        os.sched_setaffinity(0, own_cpus)
    try:
        while not ready.exists():
            if process.poll() is not None or time.monotonic() - began_s > READY_TIMEOUT_S:
                _end(process)
                said = process.communicate()[0].decode(errors="replace").strip().splitlines()
                raise TareError(f"virtme-ng does not get that far: {said[-1] if said else 'it says nothing'}")
            time.sleep(_LOOK_S)
        return time.monotonic() - began_s
    finally:
        _end(process)
        ready.unlink(missing_ok=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

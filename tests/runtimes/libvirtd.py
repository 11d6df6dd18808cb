"""A libvirtd of our own: own configuration, own state, own processes, and nothing of it on the host but a socket.

Everything runs below the first process of a pid namespace, so that it ends with it, and so that somebody collects
orphans at once: libvirt waits 40 s for the pid of each short-lived QEMU to vanish.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0
OWN_WORLD = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
FIRST_PROCESS = """
import os, shutil, subprocess, sys
folder, *hidden = sys.argv[1:]
for path in hidden:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
for path in ("/run", "/var/lib", "/var/cache", "/var/log"):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
for path in ("/run/lock", "/run/etc", "/run/work"):
    os.mkdir(path)
# Its QEMU's account may not open this, but whoever libvirt asks QEMU as may: each start would ask anew, for 8 s.
if os.path.exists("/dev/kvm"):
    os.close(os.open("/run/closed", os.O_CREAT, 0))
    subprocess.run(["mount", "--bind", "/run/closed", "/dev/kvm"], check=True)
layers = "lowerdir=/etc,upperdir=/run/etc,workdir=/run/work"
subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", "/etc"], check=True)
os.makedirs("/etc/libvirt", exist_ok=True)
shutil.copy(f"{folder}/qemu.conf", "/etc/libvirt/qemu.conf")
daemon = subprocess.Popen(["libvirtd", "-f", f"{folder}/libvirtd.conf", "-p", f"{folder}/libvirtd.pid"])
while os.wait()[0] != daemon.pid:
    pass
while True:  # its boxes outlive it, as on any host
    try:
        os.wait()
    except ChildProcessError:
        break
"""
# Files instead of virtlogd; no cgroups, which libvirt would make beside ours and leave behind; no /dev of QEMU's own,
# where libvirt cannot move the device that is closed above.
QEMU_CONF = 'stdio_handler = "file"\ncgroup_controllers = []\nnamespaces = []\n'


@dataclass(frozen=True, slots=True)
class Daemon:
    """`uri` is what a person would give to the runtime."""

    folder: Path
    first: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.socket}"

    def kill(self) -> None:
        """SIGKILL to libvirtd alone; what it started goes on."""
        children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text().split()
        inside = next(pid for pid in children if _is_first(pid))
        for pid in Path(f"/proc/{inside}/task/{inside}/children").read_text().split():
            if Path(f"/proc/{pid}/comm").read_text() == "libvirtd\n":
                os.kill(int(pid), signal.SIGKILL)


def _is_first(pid: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().startswith("python")


@contextmanager
def running(folder: Path, *hidden: Path) -> Iterator[Daemon]:
    """Until the block ends. `folder` must have a short path: its socket is in there. `hidden` folders it sees empty."""
    (folder / "libvirtd.conf").write_text(f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\n')
    (folder / "qemu.conf").write_text(QEMU_CONF)
    (folder / "libvirt-sock").unlink(missing_ok=True)  # of one that was killed
    with (folder / "log").open("wb") as log:
        first = subprocess.Popen(
            [*OWN_WORLD, sys.executable, "-c", FIRST_PROCESS, str(folder), *map(str, hidden)],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(folder / "libvirt-sock", first, folder / "log")
        yield Daemon(folder, first)
    finally:
        first.kill()
        first.wait()


def _wait_for(socket: Path, first: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not socket.exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(0.1)
            raise AssertionError(f"libvirtd ended: {log.read_text()}")
        assert time.monotonic() < deadline_s, log.read_text()

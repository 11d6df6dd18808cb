"""A virtual machine as somebody would start it by hand: one QEMU command line and a socket, no libvirt, no harness."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from harness import marks, paths, proc, registry, request, rerun
from harness.contract import Workspace
from harness.errors import TareError
from harness.model import Config, Prepared, Role, Spec
from tests.benchmarks.frame import Row

QEMU = "qemu-system-x86_64"
PAIRS = 10
READY_TIMEOUT_S = 60.0


def command(prepared: Prepared, append: str, disk: Path, agent: Path) -> list[str]:
    """The same machine, kernel, initrd and devices as the `direct` profile, and nothing that is not needed."""
    files = {artifact.role: artifact.path for artifact in prepared.artifacts}
    return [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35,accel=tcg,hpet=off", "-cpu", "max,la57=off", "-smp", "1", "-m", "256",
        "-kernel", files[Role.KERNEL], "-initrd", files[Role.INITRD], "-append", append,
        "-drive", f"file={disk},format=qcow2,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk",
        "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={agent}",
        "-device", "virtserialport,chardev=agent,name=tare.0", "-serial", "null",
    ]  # fmt: skip


def ready_s(prepared: Prepared, append: str, scratch: Path, cpu: int) -> float:
    """Seconds from starting the process, its disk made before, to the agent's first byte."""
    folder = scratch / "bare"
    folder.mkdir()
    base = next(one.path for one in prepared.artifacts if one.role is Role.ROOT)
    disk, agent = folder / "disk.qcow2", folder / "agent"
    proc.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", str(disk)])
    own_cpus = os.sched_getaffinity(0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent))
        listener.listen(1)
        listener.settimeout(READY_TIMEOUT_S)
        os.sched_setaffinity(0, {cpu})
        began_s = time.monotonic()
        process = subprocess.Popen(command(prepared, append, disk, agent))
        os.sched_setaffinity(0, own_cpus)
        try:
            connection = listener.accept()[0]
            with connection:
                connection.settimeout(READY_TIMEOUT_S)
                if not connection.recv(1):
                    raise TareError("the bare machine ended before it was ready")
                return time.monotonic() - began_s
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder)


def row() -> Row:
    """By turns with the runtime `tcg` on the same CPU; the ratio of each pair is one value."""
    cpu = request.boxes_cpu()
    home = paths.home()
    image = rerun.image_of(Config(suite="bench", scenarios=(), runtimes=()), home)
    ratios = []
    with marks.claimed(marks.new_id()) as mark:
        scratch = home / "scratch" / mark
        scratch.mkdir(parents=True)
        runtime = registry.runtime("tcg", Workspace(store=home, scratch=scratch, mark=mark))
        try:
            prepared = runtime.prepare(image)
            append = ""
            for number in range(PAIRS + 1):
                began_s = time.monotonic()
                with runtime.start(Spec(name=f"{mark}-{number}", prepared=prepared, cpuset=(cpu,))) as box:
                    box.wait_ready(READY_TIMEOUT_S)
                    ours_s = time.monotonic() - began_s
                    append = box.documents()["kernel command line"].strip()
                ratios.append(ours_s / ready_s(prepared, append, scratch, cpu))
        finally:
            runtime.close()
            shutil.rmtree(scratch, ignore_errors=True)
    return Row("tcg boot.ready ÷ bare QEMU line", "", tuple(ratios[1:]), at_most=1.2)

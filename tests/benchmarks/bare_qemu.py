"""Virtual machines as somebody would start them by hand: one QEMU command line and a socket, no libvirt, no harness."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import agent, proc
from harness.errors import TareError
from harness.model import Prepared, Role

QEMU = "qemu-system-x86_64"
READY_TIMEOUT_S = 120.0
_COMMON = (QEMU, "-no-user-config", "-display", "none", "-no-reboot", "-cpu", "max,la57=off", "-smp", "1", "-m", "256")

Command = Callable[[Path, Path], list[str]]
"""The disk and the agent's socket → the whole command line."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine without anything that is not needed, and what its virtio devices are called.

    A small translation cache is a sixth faster than QEMU's own choice. For microvm, leaving out timers, interrupt
    controllers or option ROMs made no difference that could be told from noise.
    """

    options: str
    device: str


DIRECT = Machine("q35,hpet=off", "pci")
MICRO = Machine("microvm", "device")


def tuned(machine: Machine, prepared: Prepared, append: str) -> Command:
    """The same kernel, initrd and devices as the profile of that machine."""
    files = {artifact.role: artifact.path for artifact in prepared.artifacts}
    return lambda disk, port: [
        *_COMMON, "-nodefaults", "-machine", machine.options, "-accel", "tcg,tb-size=32",
        "-kernel", files[Role.KERNEL], "-initrd", files[Role.INITRD], "-append", append,
        "-drive", f"file={disk},format=qcow2,if=none,id=disk", "-device", f"virtio-blk-{machine.device},drive=disk",
        "-device", f"virtio-serial-{machine.device}", "-chardev", f"socket,id=agent,path={port}",
        "-device", "virtserialport,chardev=agent,name=tare.0", "-serial", "null",
    ]  # fmt: skip


def usual(vmlinuz: Path, initramfs: Path) -> Command:
    """What virt-install and the like make of a few words: pc, SeaBIOS, every device somebody might want, the
    distribution's own kernel and initramfs. The agent speaks on the second serial port, which needs no module."""
    environment = " ".join(f"{name}={value}" for name, value in agent.environment(port="/dev/ttyS1").items())
    init = f"init={agent.BUSYBOX} -- env -i {environment} {' '.join(agent.ARGV)}"
    return lambda disk, port: [
        *_COMMON, "-machine", "pc,accel=tcg", "-vga", "std",
        "-kernel", str(vmlinuz), "-initrd", str(initramfs),
        "-append", f"root=/dev/vda rw quiet console=ttyS0 {init}",
        "-drive", f"file={disk},format=qcow2,if=virtio", "-usb", "-device", "usb-tablet",
        "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net", "-device", "virtio-balloon-pci",
        "-device", "virtio-rng-pci", "-device", "intel-hda", "-device", "virtio-serial-pci",
        "-serial", "null", "-chardev", f"socket,id=agent,path={port}", "-serial", "chardev:agent",
    ]  # fmt: skip


def ready_s(command: Command, prepared: Prepared, scratch: Path, cpu: int) -> float:
    """Seconds from starting the process, its disk made before, to the agent's first byte."""
    folder = scratch / "bare"
    folder.mkdir()
    base = next(one.path for one in prepared.artifacts if one.role is Role.ROOT)
    disk, port = folder / "disk.qcow2", folder / "agent"
    proc.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", str(disk)])
    own_cpus = os.sched_getaffinity(0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(port))
        listener.listen(1)
        listener.settimeout(READY_TIMEOUT_S)
        os.sched_setaffinity(0, {cpu})
        began_s = time.monotonic()
        process = subprocess.Popen(command(disk, port))
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


def initramfs(home: Path, release: str) -> Path:
    """The distribution's own for that kernel, made by its own tools in a tree of its own; kept."""
    target = home / "bench" / f"initrd.img-{release}"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        script = f'cp "$1/boot/{target.name}" "{target}"'
        proc.run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", f"--include=linux-image-{release},initramfs-tools"),
                *(f"--customize-hook={script}", "--format=null", _codename()),
            ],
            timeout_s=900.0,
            hint="apt-get install mmdebstrap",
        )
    return target


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))

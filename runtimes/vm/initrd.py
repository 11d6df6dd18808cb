"""The guest's first file system: busybox, init.sh and the kernel modules it needs, as one reproducible cpio archive.

Uncompressed, because it is small and the guest would pay for the decompression. Not the distribution's own: that one
is seven times as large and looks for hardware that a box does not have.
"""

from __future__ import annotations

import lzma
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from ipaddress import IPv4Network
from pathlib import Path

from harness import agent, proc
from harness.errors import UsageError
from harness.model import Kernel
from runtimes.bridge import bridges
from runtimes.vm.domain import PORT_NAME

MARKER = b"tare: init"
"""What init.sh says first."""
UNIT = "tare.service"
NETWORK = ("virtio_net",)
"""What a guest loads that has a network; the others do not pay for it."""

FILE_SYSTEM = ("ext4",)
"""What the disk is read with. Built into the distribution's cloud kernel, but not into its usual one."""
ASKED_FOR = ("crc32c_generic",)
"""What ext4 asks the kernel for while it is mounted, so that no dependency names it. Newer kernels have none."""

_SUBNET = IPv4Network((0, bridges.PREFIX))
_FOLDERS = ("bin", "box", "dev", "modules", "network", "proc", "sys")
_CONSOLE = os.makedev(5, 1)
_ALIGN = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of the archive."""

    path: str
    mode: int
    data: bytes = b""
    device: int = 0


def build(busybox: bytes, kernel: Kernel, wanted: Sequence[str], unit: str = "") -> bytes:
    """The whole archive; the same bytes for the same busybox, kernel, wanted modules and agent protocol.

    With a `unit`, an image that has systemd is started by it, and the agent by that unit.
    """
    modules = load_order(Path(kernel.modules), (*wanted, *FILE_SYSTEM), where_there=ASKED_FOR)
    network = [path for path in load_order(Path(kernel.modules), NETWORK) if path not in modules]
    entries = [
        *(Entry(folder, stat.S_IFDIR | 0o755) for folder in _FOLDERS),
        # The kernel opens this one for init before anything is mounted.
        Entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE),
        Entry("bin/busybox", stat.S_IFREG | 0o755, busybox),
        Entry("init", stat.S_IFREG | 0o755, _init().encode()),
        *([Entry(UNIT, stat.S_IFREG | 0o644, unit.encode())] if unit else []),
        *(
            Entry(f"modules/{number:02}-{_name(path)}", stat.S_IFREG | 0o644, _module_bytes(path))
            for number, path in enumerate(modules)
        ),
        *(
            Entry(f"network/{number:02}-{_name(path)}", stat.S_IFREG | 0o644, _module_bytes(path))
            for number, path in enumerate(network)
        ),
    ]
    return archive(entries)


def unit() -> str:
    """The agent as a service, last in the boot of the system. init.sh adds the port, known only in the guest."""
    environment = "".join(f"Environment={name}={value}\n" for name, value in agent.environment().items())
    start = f"[Service]\nExecStart={' '.join(agent.ARGV)}\n"
    return f"[Unit]\nDescription=tare's agent\nAfter=multi-user.target\n{start}{environment}"


def archive(entries: Sequence[Entry]) -> bytes:
    """The `newc` form of cpio: owner root, times zero, numbered in order."""
    out = bytearray()
    for inode, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        major, minor = os.major(entry.device), os.minor(entry.device)
        fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, major, minor, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % _ALIGN)
        out += entry.data
        out += bytes(-len(out) % _ALIGN)
    return bytes(out)


def load_order(modules: Path, wanted: Sequence[str], where_there: Sequence[str] = ()) -> list[Path]:
    """The files of the wanted modules, each after those it needs. What is built into the kernel needs no file.

    UsageError for one that is neither, unless it is wanted only where there is one: those come first.
    """
    needs = dict(_dependencies((modules / "modules.dep").read_text()))
    files = {_name(Path(path)): path for path in needs}
    builtin_list = modules / "modules.builtin"
    builtin = {_name(Path(line)) for line in builtin_list.read_text().split()} if builtin_list.exists() else set()
    ordered: dict[str, None] = {}
    for name in (*where_there, *wanted):
        if name in files:
            # modules.dep lists what a module needs closest first; the farthest is loaded first.
            ordered |= dict.fromkeys([*reversed(needs[files[name]]), files[name]])
        elif name not in builtin and name not in where_there:
            raise UsageError(
                f"the kernel's modules in {modules} have no {name}",
                hint="name a kernel that has it: --kernel PATH --modules DIR",
            )
    return [modules / path for path in ordered]


def _dependencies(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        path, _, needs = line.partition(":")
        yield path, needs.split()


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _module_bytes(path: Path) -> bytes:
    """A module as the kernel takes it: busybox's insmod does not decompress."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / path.stem
            proc.run(["zstd", "-dq", "-o", str(plain), str(path)], hint="apt-get install zstd")
            return plain.read_bytes()
    return path.read_bytes()


def _init() -> str:
    text = (resources.files("runtimes.vm") / "init.sh").read_text()
    environment = " ".join(f"'{name}={value}'" for name, value in agent.environment().items())
    words = {"@ENVIRONMENT@": environment, "@AGENT@": " ".join(agent.ARGV), "@PORT@": PORT_NAME, "@UNIT@": UNIT}
    words |= {"@NETMASK@": str(_SUBNET.netmask), "@THIRD@": str(_SUBNET.netmask.packed[2])}
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text

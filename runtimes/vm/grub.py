"""BIOS: SeaBIOS starts the first sector, that GRUB's core, and that the kernel from a partition of its own.

What `grub-install` does, but to a file and without mounting it: `boot.img` goes into the first sector and is told where
the core begins; the core's own first sector is told where the rest of it follows (both layouts are fixed in GRUB's
`include/grub/i386/pc/boot.h`). The core carries its few commands, so there is no menu, no timeout and no search.

GRUB's first act is a line on the serial console. There the host's clock divides firmware from what comes after.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

from harness import proc
from harness.errors import UsageError
from runtimes.vm import bootdisk
from runtimes.vm.bootdisk import MIB, SECTOR, Loaded, Loader, Partition

MARKER = b"tare: loader"
"""What GRUB says first."""
_PARTS = Path("/usr/lib/grub/i386-pc")
_BOOT = _PARTS / "boot.img"
_MODULES = ("biosdisk", "part_gpt", "fat", "serial", "terminal", "echo", "linux", "reboot")
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
"""The partition type for a core that has no file system around it."""
_CODE_BYTES = 440
"""Of the first sector; the rest is the partition table's."""
_CORE_AT = 0x5C
_REST_AT = SECTOR - 12
_COMMANDS = """\
serial --unit=0 --speed=115200
terminal_output serial
echo "{marker}"
set gfxpayload=text
linux (hd0,gpt2)/vmlinuz {words}
initrd (hd0,gpt2)/initrd
boot
reboot
"""


def _partitions(scratch: Path, loaded: Loaded) -> Sequence[Partition]:
    tree = scratch / "tree"
    tree.mkdir()
    shutil.copyfile(loaded.kernel.path, tree / "vmlinuz")
    (tree / "initrd").write_bytes(loaded.initrd)
    boot = bootdisk.fat(tree, scratch / "boot.fat")
    return Partition("grub", _BIOS_BOOT, _core(scratch, loaded.command_line)), Partition("boot", "L", boot)


def _core(scratch: Path, command_line: str) -> Path:
    """GRUB with the modules it needs and what it is to do, in a whole MiB."""
    commands, core = scratch / "commands", scratch / "core.img"
    words = " ".join(map(_quoted, command_line.split()))
    commands.write_text(_COMMANDS.format(marker=MARKER.decode(), words=words))
    argv = ["grub-mkimage", "-O", "i386-pc", "-d", str(_PARTS), "-p", "(hd0,gpt2)/", "-c", str(commands)]
    proc.run([*argv, "-o", str(core), *_MODULES], hint="apt-get install grub-common grub-pc-bin")
    if core.stat().st_size > MIB:
        raise UsageError("GRUB's core does not fit its partition", hint="shorten what the option append adds")
    with core.open("r+b") as file:
        file.truncate(MIB)
    return core


def _quoted(word: str) -> str:
    if set(word) & set("'\"\\"):
        raise UsageError(f"GRUB does not hand the word {word} over as it is", hint="leave quotes and backslashes out")
    return f"'{word}'"


def _install(disk: Path, starts: Sequence[int]) -> None:
    core = starts[0]
    boot = bytearray(_BOOT.read_bytes()[:_CODE_BYTES])
    struct.pack_into("<Q", boot, _CORE_AT, core)
    with disk.open("r+b") as file:
        file.write(boot)
        file.seek(core * SECTOR + _REST_AT)
        file.write(struct.pack("<Q", core + 1))


LOADER = Loader(
    name="grub",
    recipe=_COMMANDS,
    files={_BOOT: "grub-pc-bin", **{_PARTS / f"{module}.mod": "grub-pc-bin" for module in _MODULES}},
    programs={"grub-mkimage": "grub-common"},
    root_number=3,
    partitions=_partitions,
    install=_install,
)

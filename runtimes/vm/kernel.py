"""The guest kernel: what it is told, and the form in which it is handed over.

A distribution's `vmlinuz` unpacks itself inside the guest, which costs a fifth of an emulated boot and tens of
milliseconds of a real one. QEMU can start the `vmlinux` inside directly (the PVH entry), so it is unpacked once, on
the host. Where that cannot be done the vmlinuz boots as it is, and the box's documents say so.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import kernels, log, paths, proc
from harness.errors import TareError
from harness.model import Kernel

_COMMON = (
    "console=ttyS0",
    "quiet",  # each character on a serial port is an exit to the host
    "panic=-1",  # a guest that cannot go on ends at once; the domain's on_reboot does the rest
    "reboot=t",
    "8250.nr_uarts=1",
    "no_timer_check",
    "cryptomgr.notests",
    "random.trust_cpu=on",
    "tsc=reliable",
)
_ELF = b"\x7fELF"

# From the kernel's x86 boot protocol: where a bzImage says how many sectors precede it and where its payload lies.
_SETUP_SECTORS, _DEFAULT_SETUP_SECTORS, _SECTOR = 0x1F1, 4, 512
_PAYLOAD = 0x248
_SIZE_BYTES = 4  # the unpacked size, appended to the payload
# The ELF note that names the PVH entry: type 18 of owner "Xen", with a 32- or a 64-bit address.
_PVH_NOTES = tuple(struct.pack("<III4s", 4, size, 18, b"Xen\0") for size in (4, 8))
_UNPACK_TIMEOUT_S = 60.0


def command_line(tsc_khz: int | None) -> str:
    """What the kernel is told. Every word holds for any small guest; none turns off a protection.

    `tsc_khz`: the rate of its time stamp counter; None lets it find out.
    """
    words = list(_COMMON)
    if tsc_khz is not None:
        words.append(f"tsc_early_khz={tsc_khz}")
    return " ".join(words)


def bootable(store: Path, kernel: Kernel) -> Path:
    """The fastest form this kernel can boot in, kept in the store by digest. UsageError when it is no kernel."""
    source = Path(kernel.path)
    kernels.check(source)
    target = store / "vm" / "kernels" / kernel.digest.replace(":", "-") / "vmlinux"
    if not target.exists():
        try:
            image = unpack(source.read_bytes())
        except TareError as error:
            log.warn(f"kernel {kernel.version} unpacks itself inside each guest: {error.message}")
            return source
        with paths.whole_or_nothing(target.parent) as draft:
            (draft / target.name).write_bytes(image)
    return target


def form(path: Path) -> str:
    """How a kernel file will be entered, in words."""
    with path.open("rb") as file:
        entered_directly = file.read(len(_ELF)) == _ELF
    if entered_directly:
        return "vmlinux, unpacked on the host and entered by PVH"
    return "vmlinuz, which unpacks itself inside the guest"


def unpack(bzimage: bytes) -> bytes:
    """The ELF image inside; TareError with the reason when there is none that QEMU can enter."""
    image = bzimage if bzimage.startswith(_ELF) else _payload(bzimage)
    if not image.startswith(_ELF) or not any(note in image for note in _PVH_NOTES):
        raise TareError("it has no PVH entry", hint="a kernel with CONFIG_PVH=y boots faster")
    return image


def _payload(bzimage: bytes) -> bytes:
    start = ((bzimage[_SETUP_SECTORS] or _DEFAULT_SETUP_SECTORS) + 1) * _SECTOR
    offset, length = struct.unpack_from("<II", bzimage, _PAYLOAD)
    packed = bzimage[start + offset : start + offset + length]
    for magic, decompress in _FORMATS.items():
        if packed.startswith(magic):
            return decompress(packed[:-_SIZE_BYTES])
    raise TareError(f"its payload is packed in an unknown way ({packed[:4].hex()})")


def _with_program(*argv: str) -> Callable[[bytes], bytes]:
    def decompress(packed: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "packed", Path(folder) / "plain"
            source.write_bytes(packed)
            files = {"SOURCE": str(source), "TARGET": str(target)}
            proc.run([files.get(word, word) for word in argv], timeout_s=_UNPACK_TIMEOUT_S)
            return target.read_bytes()

    return decompress


_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x02\x21\x4c\x18": _with_program("lz4", "-dq", "SOURCE", "TARGET"),
    b"\x28\xb5\x2f\xfd": _with_program("zstd", "-dq", "SOURCE", "-o", "TARGET"),
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"\x5d\x00\x00": lzma.decompress,
    b"BZh": bz2.decompress,
}

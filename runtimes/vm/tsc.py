"""How fast the host's time stamp counter runs, measured: an emulated guest reads that very counter.

QEMU hands `rdtsc` through, but tells an emulated guest no rate. A guest that measures it against an emulated timer gets
it wrong on a busy host, or hangs; one that is told a wrong rate has a clock that runs wrong by as much.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import time
from collections.abc import Callable

_SPAN_S = 0.02
_READINGS = 16
# rdtsc; shl rdx, 32; or rax, rdx; ret
_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")


@functools.cache
def host_khz() -> int:
    """Counter ticks a millisecond, within a few millionths."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_CODE)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    began_ns, began = _together(read)
    time.sleep(_SPAN_S)
    ended_ns, ended = _together(read)
    return round((ended - began) * 1_000_000 / (ended_ns - began_ns))


def _together(read: Callable[[], int]) -> tuple[int, int]:
    """Clock and counter of one instant: of several pairs, the one that was read with the least delay."""
    pairs = []
    for _ in range(_READINGS):
        before_ns, ticks, after_ns = time.monotonic_ns(), read(), time.monotonic_ns()
        pairs.append((after_ns - before_ns, (before_ns + after_ns) // 2, ticks))
    _, moment_ns, ticks = min(pairs)
    return moment_ns, ticks

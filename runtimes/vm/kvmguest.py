"""The smallest possible KVM guest, run as a program of its own: does the CPU execute guest code, and how fast?

A count-down loop in real mode, then one `out` instruction that ends it. On hardware the loop takes tens of
microseconds. A KVM that emulates each instruction in software accepts every call, passes every feature test and takes
a hundred times as long; no distribution kernel ever finishes booting there.

A program of its own, because `KVM_RUN` may not return: whoever asks kills it after a moment. It prints one JSON object.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import sys
import time
from typing import NamedTuple

import msgspec

LOOP_STEPS = 20_000
DEVICE = "/dev/kvm"
_REPEATS = 3

# From linux/kvm.h: requests, and the capabilities that a hardware KVM has at least one of.
_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_CHECK_EXTENSION = 0xAE03
_GET_VCPU_MMAP_SIZE = 0xAE04
_CREATE_VCPU = 0xAE41
_SET_USER_MEMORY_REGION = 0x4020AE46
_RUN = 0xAE80
_SET_REGS = 0x4090AE82
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84
_CAPABILITIES = {"NESTED_STATE": 157, "X86_SMM": 117, "HYPERV": 44, "TSC_CONTROL": 60}
_EXIT_IO = 2

_REGS_BYTES, _RIP_OFFSET, _RFLAGS_OFFSET = 144, 128, 136
_SREGS_BYTES, _CS_BASE_OFFSET, _CS_SELECTOR_OFFSET = 312, 0, 12
_EXIT_REASON_OFFSET = 8
_PORT = 0x10


class Findings(NamedTuple):
    """What was found. `step` names the call that failed, or is empty."""

    step: str = ""
    error: str = ""
    api_version: int = 0
    capabilities: tuple[str, ...] = ()
    exit_reason: int = 0
    loop_s: float = 0.0


def code(steps: int) -> bytes:
    """mov ecx, steps; loop: dec ecx; jnz loop; out PORT, al; hlt (16-bit code with 32-bit operands)."""
    return b"\x66\xb9" + struct.pack("<I", steps) + b"\x66\x49\x75\xfc" + bytes([0xE6, _PORT]) + b"\xf4"


def explore() -> Findings:
    """Climbs as far as it gets; the kernel's own words where it ends."""
    findings = Findings()
    step = "open"
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        step = "create"
        findings = findings._replace(
            api_version=fcntl.ioctl(device, _GET_API_VERSION, 0),
            capabilities=tuple(
                name for name, number in _CAPABILITIES.items() if fcntl.ioctl(device, _CHECK_EXTENSION, number) > 0
            ),
        )
        vcpu, memory, run = _create(device)
        step = "run"
        timings = [_time_loop(vcpu, memory, steps) for steps in (1, *[LOOP_STEPS] * _REPEATS)]
        reason = struct.unpack_from("<I", run, _EXIT_REASON_OFFSET)[0]
        return findings._replace(exit_reason=reason, loop_s=min(timings[1:]))
    except OSError as error:
        return findings._replace(step=step, error=f"{error.strerror} (errno {error.errno})")


def _create(device: int) -> tuple[int, mmap.mmap, mmap.mmap]:
    """A virtual machine with one page of memory at address 0 and one CPU."""
    machine = fcntl.ioctl(device, _CREATE_VM, 0)
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, 0, mmap.PAGESIZE, address))
    vcpu = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    run = mmap.mmap(vcpu, fcntl.ioctl(device, _GET_VCPU_MMAP_SIZE, 0))
    sregs = bytearray(_SREGS_BYTES)
    fcntl.ioctl(vcpu, _GET_SREGS, sregs)
    struct.pack_into("<Q", sregs, _CS_BASE_OFFSET, 0)
    struct.pack_into("<H", sregs, _CS_SELECTOR_OFFSET, 0)
    fcntl.ioctl(vcpu, _SET_SREGS, sregs)
    return vcpu, memory, run


def _time_loop(vcpu: int, memory: mmap.mmap, steps: int) -> float:
    program = code(steps)
    memory[: len(program)] = program
    regs = bytearray(_REGS_BYTES)
    struct.pack_into("<Q", regs, _RIP_OFFSET, 0)
    struct.pack_into("<Q", regs, _RFLAGS_OFFSET, 2)
    fcntl.ioctl(vcpu, _SET_REGS, regs)
    began_s = time.perf_counter()
    fcntl.ioctl(vcpu, _RUN, 0)
    return time.perf_counter() - began_s


def main() -> None:
    sys.stdout.write(msgspec.json.encode(explore()).decode())


if __name__ == "__main__":
    main()

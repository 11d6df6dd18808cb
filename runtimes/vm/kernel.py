"""The guest kernel's command line, a pure function of the accelerator.

Every word is there for a reason that holds for any small guest; none turns off a protection.
"""

from __future__ import annotations

from runtimes.vm.domain import Accelerator

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
_TCG_TSC_KHZ = 1_000_000
"""QEMU's emulated time stamp counter runs at 1 GHz. Calibration fails when the host is busy, and costs 60 ms."""


def command_line(accelerator: Accelerator) -> str:
    """What the kernel is told."""
    words = list(_COMMON)
    if accelerator.emulated:
        words.append(f"tsc_early_khz={_TCG_TSC_KHZ}")
    return " ".join(words)

"""QEMU's own instants of a start, from a trace that costs the guest nothing.

QEMU can write a line whenever its virtual CPUs are told to run and whenever firmware asks it for a part of the kernel
(`fw_cfg`). The last such question is the hand-over: from then on the kernel runs. That is forty lines a start. What
firmware would print itself costs the guest an exit for each character.

    123@1764042373.367600:vm_state_notify running 1 reason 9 (running)
    123@1764042373.493400:fw_cfg_select 0x55e3114fe640 key 0x0010 'kernel_entry', ret: 1
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVENTS = ("vm_state_notify", "fw_cfg_select")
_PART = re.compile("'(kernel|initrd|initdr|cmdline|setup)_")
"""Names of the keys that hold a kernel (one of them with QEMU's own slip). A kernel may ask for others itself."""
_LINE = re.compile(r"\d+@(\d+\.\d+):(\w+)(.*)")


def wall_ahead_s() -> float:
    """How far the wall clock, by which QEMU writes, is ahead of the monotonic one."""
    return time.time() - time.monotonic()


@dataclass(frozen=True, slots=True)
class Timeline:
    """A trace, read by the host's monotonic clock. Empty where none was written."""

    running_at_s: tuple[float, ...] = ()
    asked_at_s: tuple[float, ...] = ()

    def running_s(self, earliest_s: float, latest_s: float) -> float:
        """When the virtual CPUs were first told to run; the later limit where that was not seen."""
        return next((at_s for at_s in self.running_at_s if earliest_s <= at_s <= latest_s), latest_s)

    def entered_s(self, running_s: float, init_s: float) -> float:
        """When firmware asked for the last time before the guest's first process; 0.0 where that was not seen."""
        return max((at_s for at_s in self.asked_at_s if running_s <= at_s <= init_s), default=0.0)


def read(trace: Path, ahead_s: float) -> Timeline:
    """What QEMU has written so far. `ahead_s` is the lead of the wall clock when the box was requested."""
    try:
        lines = list(_lines(trace.read_text(errors="replace")))
    except FileNotFoundError:
        return Timeline()
    running = tuple(
        at_s - ahead_s for at_s, event, rest in lines if event == EVENTS[0] and rest.startswith(" running 1")
    )
    asked = tuple(at_s - ahead_s for at_s, event, rest in lines if event == EVENTS[1] and _PART.search(rest))
    return Timeline(running, asked)


def _lines(text: str) -> Iterator[tuple[float, str, str]]:
    for line in text.splitlines():
        if found := _LINE.match(line):
            yield float(found[1]), found[2], found[3]

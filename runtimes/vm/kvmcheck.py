"""Is hardware virtualization usable here? A ladder of steps, each surer and dearer than the one below.

L0 the device opens · L1 a virtual machine and a CPU can be made · L2 the host CPU has the instructions · L3 KVM has
what only a hardware KVM has · L4a a guest of one instruction ends · L4b a guest of 20 000 steps ends in less than a
millisecond · L5 our own kernel boots, by the very machine that will be measured.

L2 and L3 are printed and decide nothing: a nested host may hide them. L4b decides most: a KVM that interprets
instructions in software passes everything below it, and libvirt then reports a guest as running that never boots.
L5 alone costs seconds, and is remembered for as long as kernel, QEMU, libvirt and this boot of the host stay the same.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import paths, proc
from harness.errors import TareError
from runtimes.vm import kvmguest
from runtimes.vm.kvmguest import Findings

LOOP_LIMIT_S = 0.001
"""Between tens of microseconds on hardware and several milliseconds in software."""

_GUEST_TIMEOUT_S = 3.0
_EXIT_IO = 2
_USE_TCG = "use the runtime tcg (emulation, and labelled so), or a host with VT-x or AMD-V"
_HINTS = {
    "L0": "load kvm_intel or kvm_amd, enable virtualization in the firmware, or join the group that owns /dev/kvm",
    "L1": "another hypervisor may hold the CPU; see the kernel's log",
    "L4a": _USE_TCG,
    "L4b": _USE_TCG,
    "L5": "see the console's last words above; " + _USE_TCG,
}

Canary = Callable[[], str]
"""Boots a box with our kernel; returns what went wrong, or nothing."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step. `passed` is None where it is only told, not judged."""

    name: str
    passed: bool | None
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far we got, lowest rung first."""

    rungs: tuple[Rung, ...]

    @property
    def usable(self) -> bool:
        return self.rungs[-1].name == "L5" and self.rungs[-1].passed is True

    @property
    def reason(self) -> str:
        """Why not, as a sentence; empty when it is usable."""
        failed = next((rung for rung in self.rungs if rung.passed is False), None)
        return f"KVM is not usable here: {failed.found} (step {failed.name})" if failed else ""

    @property
    def hint(self) -> str:
        failed = next((rung for rung in self.rungs if rung.passed is False), None)
        return _HINTS[failed.name] if failed else ""

    @property
    def facts(self) -> dict[str, str]:
        return {f"kvm {rung.name}": f"{_WORDS[rung.passed]}: {rung.found}" for rung in self.rungs}


_WORDS = {True: "passed", False: "failed", None: "noted"}


def check(canary: Canary, explore: Callable[[], Findings] | None = None, cpuinfo: str | None = None) -> Verdict:
    """Climbs until a step fails; the canary is asked last and only when all below it passed."""
    rungs: list[Rung] = []
    for step in _steps((explore or run_guest)(), _cpuinfo() if cpuinfo is None else cpuinfo, canary):
        rungs.append(step())
        if rungs[-1].passed is False:
            break
    return Verdict(tuple(rungs))


def run_guest() -> Findings:
    """The micro-guest in a process of its own, killed when it does not come back."""
    try:
        said = proc.run([sys.executable, "-m", kvmguest.__name__], timeout_s=_GUEST_TIMEOUT_S)
    except proc.CommandFailed:
        return Findings(step="run", error=f"no end within {_GUEST_TIMEOUT_S:g} s")
    return msgspec.json.decode(said, type=Findings)


def _steps(findings: Findings, cpuinfo: str, canary: Canary) -> list[Callable[[], Rung]]:
    return [
        lambda: _device(findings),
        lambda: _created(findings),
        lambda: _instructions(cpuinfo),
        lambda: Rung("L3", None, f"hardware capabilities: {', '.join(findings.capabilities) or 'none of them'}"),
        lambda: _one_instruction(findings),
        lambda: _loop(findings),
        lambda: _boots(canary),
    ]


def _device(findings: Findings) -> Rung:
    if findings.step == "open":
        return Rung("L0", False, f"{kvmguest.DEVICE} does not open: {findings.error}")
    return Rung("L0", True, f"{kvmguest.DEVICE} opens")


def _created(findings: Findings) -> Rung:
    if findings.step == "create":
        return Rung("L1", False, f"no virtual machine can be made: {findings.error}")
    return Rung("L1", True, f"a virtual machine can be made, API {findings.api_version}")


def _instructions(cpuinfo: str) -> Rung:
    flags = {word for line in cpuinfo.splitlines() if line.startswith("flags") for word in line.split()}
    present = sorted(flags & {"vmx", "svm"})
    return Rung("L2", None, f"the CPU offers {present[0]}" if present else "the CPU offers neither vmx nor svm")


def _one_instruction(findings: Findings) -> Rung:
    if findings.step == "run" or findings.exit_reason != _EXIT_IO:
        said = findings.error or f"exit reason {findings.exit_reason}"
        return Rung("L4a", False, f"a guest of a few instructions does not run: {said}")
    return Rung("L4a", True, "a guest of a few instructions runs")


def _loop(findings: Findings) -> Rung:
    took = f"a guest loop of {kvmguest.LOOP_STEPS} steps took {findings.loop_s * 1000:.3g} ms"
    if findings.loop_s > LOOP_LIMIT_S:
        limit = f"hardware needs well below {LOOP_LIMIT_S * 1000:g} ms"
        return Rung("L4b", False, f"{took}, {limit}; guest code is interpreted by software and no real kernel boots")
    return Rung("L4b", True, took)


def _boots(canary: Canary) -> Rung:
    wrong = canary()
    if wrong:
        return Rung("L5", False, f"our kernel did not boot: {wrong}")
    return Rung("L5", True, "our kernel boots")


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text()


def remembered(store: Path, versions: str, canary: Canary) -> Canary:
    """The canary, asked until it has booted once in this state of the host: a busy minute must not forbid KVM."""

    def ask() -> str:
        state = (platform.release(), versions, Path("/proc/sys/kernel/random/boot_id").read_text())
        record = store / "vm" / "canaries" / hashlib.sha256(repr(state).encode()).hexdigest()[:16]
        if record.exists():
            return ""
        try:
            wrong = canary()
        except TareError as error:
            return error.message
        if not wrong:
            record.parent.mkdir(parents=True, exist_ok=True)
            paths.write_atomically(record, b"it booted")
        return wrong

    return ask

"""The ladder that decides whether KVM is real here."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.contract import Workspace
from harness.errors import Unsupported
from runtimes.vm import driver, kvmcheck, kvmguest
from runtimes.vm.kvmguest import Findings

HARDWARE = Findings(api_version=12, capabilities=("X86_SMM",), exit_reason=2, loop_s=0.00002)
INTEL = "flags\t\t: fpu vmx sse\n"


def never() -> str:
    raise AssertionError("the canary must not fly before the steps below it have passed")


def check(findings: Findings, canary: kvmcheck.Canary = never, cpuinfo: str = INTEL) -> kvmcheck.Verdict:
    return kvmcheck.check(canary, lambda: findings, cpuinfo)


def test_all_steps_pass_on_hardware() -> None:
    verdict = check(HARDWARE, canary=lambda: "")
    assert verdict.usable
    assert verdict.reason == ""
    assert [rung.name for rung in verdict.rungs] == ["L0", "L1", "L2", "L3", "L4a", "L4b", "L5"]
    assert verdict.facts["kvm L2"] == "noted: the CPU offers vmx"


@pytest.mark.parametrize(
    ("findings", "step", "words"),
    [
        (
            Findings(step="open", error="Permission denied (errno 13)"),
            "L0",
            "/dev/kvm does not open: Permission denied",
        ),
        (Findings(step="create", error="Device or resource busy"), "L1", "no virtual machine can be made"),
        (Findings(step="run", error="no end within 3 s"), "L4a", "does not run: no end within 3 s"),
        (HARDWARE._replace(exit_reason=17), "L4a", "exit reason 17"),
        (HARDWARE._replace(loop_s=0.0077), "L4b", "took 7.7 ms"),
    ],
)
def test_the_step_that_failed_is_named(findings: Findings, step: str, words: str) -> None:
    verdict = check(findings)
    assert not verdict.usable
    assert verdict.reason.endswith(f"(step {step})")
    assert words in verdict.reason
    assert verdict.hint
    assert verdict.rungs[-1].name == step


def test_what_only_corroborates_does_not_decide() -> None:
    assert check(HARDWARE._replace(capabilities=()), canary=lambda: "", cpuinfo="flags : fpu\n").usable


def test_a_canary_that_does_not_boot_decides() -> None:
    verdict = check(HARDWARE, canary=lambda: "it did not become ready within 8 s")
    assert not verdict.usable
    assert "our kernel did not boot: it did not become ready within 8 s (step L5)" in verdict.reason


def test_a_canary_that_came_back_flies_once_per_state_of_the_host(tmp_path: Path) -> None:
    flights = []

    def canary() -> str:
        flights.append(1)
        return ""

    for versions in ("one", "one", "two"):
        assert kvmcheck.remembered(tmp_path, versions, canary)() == ""
    assert len(flights) == 2


def test_a_canary_that_fell_flies_again(tmp_path: Path) -> None:
    answers = iter(["it fell", "", "it is not asked any more"])
    said = [kvmcheck.remembered(tmp_path, "one", lambda: next(answers))() for _ in range(3)]
    assert said == ["it fell", "", ""]


def test_a_canary_that_could_not_start_is_not_remembered(tmp_path: Path) -> None:
    def no_kernel() -> str:
        raise Unsupported("no guest kernel")

    assert kvmcheck.remembered(tmp_path, "", no_kernel)() == "no guest kernel"
    assert kvmcheck.remembered(tmp_path, "", lambda: "")() == ""


def test_the_guest_counts_down_and_writes_to_a_port() -> None:
    code = kvmguest.code(20_000)
    assert struct.unpack_from("<I", code, 2) == (20_000,)
    assert code[:2] == b"\x66\xb9"
    assert code.endswith(b"\xe6\x10\xf4")


@pytest.mark.machine
def test_the_guest_comes_back_or_says_why() -> None:
    findings = kvmcheck.run_guest()
    assert findings.step == "" or findings.error
    assert findings.step or findings.loop_s > 0


@pytest.mark.machine
def test_the_probe_gives_a_verdict_with_every_step(tmp_path: Path) -> None:
    """On a host whose KVM is real this boots the canary; elsewhere it names the step that failed."""
    runtime = driver.kvm(Workspace(store=tmp_path / "home", scratch=tmp_path / "scratch", mark="tare-kvmtest"))
    support = runtime.probe()
    runtime.close()
    assert not support.emulated
    assert support.facts["kvm L0"]
    assert support.available == ("kvm L5" in support.facts and support.facts["kvm L5"].startswith("passed"))
    assert support.available or "(step L" in support.reason
    assert support.available or support.hint

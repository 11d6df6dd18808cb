"""Taints follow from evidence alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import taints


@pytest.mark.parametrize(
    ("evidence", "settled", "found"),
    [
        ({}, True, ()),
        ({"steal": 0.04, "pressure": 0.9, "pressure_io": 0.9, "load": 40.0, "running": 9.0}, True, ()),
        ({"steal": 0.06}, True, ("steal",)),
        ({"heat_throttled": 1.0}, True, ("throttled",)),
        ({"quota_throttled": 1.0}, True, ("throttled",)),
        ({"pressure_memory": 0.2, "oom_kills": 1.0}, True, ("memory pressure", "out of memory")),
        ({"kernel_warnings": 2.0}, True, ("kernel log",)),
        ({}, False, ("busy host",)),
    ],
)
def test_a_taint_needs_evidence(evidence: dict[str, float], settled: bool, found: tuple[str, ...]) -> None:
    assert taints.of(evidence, settled=settled) == found


@pytest.mark.parametrize(
    ("record", "warning"),
    [
        ("4,100,5000,-;a warning of the kernel", True),
        ("3,100,5000,-;an error", True),
        ("6,100,5000,-;information", False),
        ("5,100,5000,-;notice", False),
        ("12,100,5000,-;a warning that somebody wrote to the log by hand", False),
        (" SUBSYSTEM=net", False),
    ],
)
def test_only_the_kernels_own_warnings_count(record: str, warning: bool) -> None:
    assert taints.is_warning(record) is warning


def test_a_log_we_may_not_read_is_not_an_empty_one(tmp_path: Path) -> None:
    assert taints.KernelLog(tmp_path / "missing").new_warnings() is None


def test_a_log_is_read_from_now_on(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("4,1,1,-;old\n")
    log = taints.KernelLog(file)
    assert log.new_warnings() == 0
    with file.open("a") as more:
        more.write("4,2,2,-;new\n")
    assert log.new_warnings() == 1
    assert log.new_warnings() == 0


def test_this_hosts_evidence_has_sense() -> None:
    witness = taints.HostWitness((0,))
    witness.begin()
    sum(range(300_000))
    found = witness.evidence()
    assert 0 <= found["steal"] <= 1
    assert found["running"] >= 1
    assert found["load"] == pytest.approx(os.getloadavg()[0], abs=1)
    assert found.get("oom_kills", 0.0) >= 0
    assert all(value >= 0 for value in found.values())

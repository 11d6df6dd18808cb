"""QEMU's trace as instants."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtimes.vm import timeline
from runtimes.vm.timeline import Timeline

TRACE = """\
123@1000.000500:fw_cfg_select 0x55 key 0x0000 'signature', ret: 1
123@1001.000000:vm_state_notify running 1 reason 9 (running)
some other line
123@1001.200000:fw_cfg_select 0x55 key 0x0019 'file_dir', ret: 1
123@1001.250000:fw_cfg_select 0x55 key 0x0010 'kernel_entry', ret: 1
123@1009.000000:fw_cfg_select 0x55 key 0x0019 'file_dir', ret: 1
123@1010.000000:vm_state_notify running 0 reason 4 (paused)
123@1011.000000:vm_state_notify running 1 reason 9 (running)
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "box.trace"
    path.write_text(TRACE)
    return path


def test_instants_come_by_the_monotonic_clock(trace: Path) -> None:
    seen = timeline.read(trace, ahead_s=900.0)
    assert seen.running_s(100.5, 101.5) == pytest.approx(101.0)


def test_the_hand_over_is_the_last_question_before_the_first_process(trace: Path) -> None:
    seen = timeline.read(trace, ahead_s=900.0)
    assert seen.entered_s(101.0, 105.0) == pytest.approx(101.25)
    assert seen.entered_s(101.3, 105.0) == 0.0


def test_what_a_kernel_asks_by_itself_is_no_hand_over(trace: Path) -> None:
    with trace.open("a") as file:
        file.write("123@1003.000000:fw_cfg_select 0x55 key 0x0019 'file_dir', ret: 1\n")
    assert timeline.read(trace, ahead_s=900.0).entered_s(101.0, 105.0) == pytest.approx(101.25)


def test_a_wall_clock_that_was_set_makes_no_instants(trace: Path) -> None:
    seen = timeline.read(trace, ahead_s=500.0)
    assert seen.running_s(100.5, 101.5) == 101.5
    assert seen.entered_s(101.5, 105.0) == 0.0


def test_no_trace_is_an_empty_one(tmp_path: Path) -> None:
    assert timeline.read(tmp_path / "none", 0.0) == Timeline()

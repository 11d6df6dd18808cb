"""What the host counts of a guest's virtual CPUs, as libvirt tells it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import images, kernels, marks
from harness.contract import Counted, Workspace
from harness.model import Spec
from runtimes.vm import connection, driver
from runtimes.vm.instance import total

pytestmark = [pytest.mark.machine, pytest.mark.slow]

READY_S = 60.0
SPIN = ["sh", "-c", "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done"]
FIRMWARE_ALONE = """
<domain type="kvm">
  <name>{name}</name>
  <memory unit="MiB">32</memory>
  <vcpu>1</vcpu>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <devices><emulator>{emulator}</emulator><memballoon model="none"/></devices>
</domain>
"""
"""Where KVM boots no kernel it may still run SeaBIOS, and with it the counters. No CPU of ours: a KVM without hardware
below it refuses to set up the host's."""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with marks.claimed(marks.new_id()) as mark:
        yield Workspace(store=tmp_path, scratch=tmp_path / "scratch", mark=mark)


def test_a_neighbour_on_the_same_cpu_is_steal(workspace: Workspace) -> None:
    runtime = driver.tcg(workspace)
    prepared = runtime.prepare(images.build_tiny(workspace.store, kernels.provide(workspace.store)))
    with runtime.start(Spec(name=workspace.name(1), prepared=prepared, cpuset=(1,))) as box:
        box.wait_ready(READY_S)
        assert isinstance(box, Counted)
        before = box.counts()
        assert before.exits is None, "emulation leaves no guest"
        with subprocess.Popen(["taskset", "-c", "1", "sh", "-c", "while :; do :; done"]) as neighbour:
            try:
                began_s = time.monotonic()
                assert box.run(SPIN, READY_S).exit_code == 0
                took_s = time.monotonic() - began_s
            finally:
                neighbour.kill()
        after = box.counts()
    runtime.close()
    assert before.steal_s is not None and after.steal_s is not None
    assert 0.2 * took_s < after.steal_s - before.steal_s <= took_s


@pytest.mark.skipif(not connection.KVM_DEVICE.exists(), reason="only KVM leaves a guest, and there is no /dev/kvm")
def test_kvm_counts_how_often_it_leaves_the_guest(workspace: Workspace) -> None:
    link = connection.open_connection(workspace)
    xml = FIRMWARE_ALONE.format(name=workspace.name(1), emulator=connection.find_emulator())
    domain = link.create_paused(workspace.name(1), xml)
    try:
        before = total(domain.vcpu_counts(), "exits.sum")
        domain.resume()
        time.sleep(1)
        after = total(domain.vcpu_counts(), "exits.sum")
    finally:
        domain.destroy()
        link.close()
    assert before is not None and after is not None
    assert after > before

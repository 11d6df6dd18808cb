"""The whole way: firmware, boot loader, kernel, systemd, and the agent as one of its services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from harness import debian, images, marks
from harness.contract import Haltable, Workspace
from harness.errors import Unsupported
from harness.model import Spec
from runtimes.vm import driver
from runtimes.vm.driver import VmRuntime

pytestmark = [pytest.mark.machine, pytest.mark.slow]

READY_S = 180.0
RUN_S = 60.0


@pytest.fixture
def mark() -> Iterator[str]:
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@pytest.fixture
def runtime(tmp_path: Path, mark: str) -> Iterator[VmRuntime]:
    made = driver.tcg_full(Workspace(store=tmp_path, scratch=tmp_path / "scratch", mark=mark))
    yield made
    made.close()


def test_debian_boots_to_its_multi_user_target_and_hears_its_power_button(
    runtime: VmRuntime, tmp_path: Path, mark: str
) -> None:
    prepared = runtime.prepare(debian.build(tmp_path).image)
    with runtime.start(Spec(name=f"{mark}-1", prepared=prepared)) as box:
        box.wait_ready(READY_S)

        def said(*argv: str) -> str:
            return box.run(argv, RUN_S).stdout.decode().strip()

        assert said("cat", "/proc/1/comm") == "systemd"
        assert said("systemctl", "is-active", "multi-user.target") == "active"
        assert said("systemctl", "is-active", "tare.service") == "active"
        assert said("systemctl", "--failed", "--quiet", "--no-legend") == ""
        assert said("systemctl", "is-active", "nginx") == "inactive"
        assert "tare_root=/dev/vda2" in said("cat", "/proc/cmdline")
        assert box.run(["sh", "-c", "cd / && grep -E ' etc/| var/' .tare/manifest >/tmp/some"], RUN_S).exit_code == 0
        checked = box.run(["sh", "-c", "cd / && sha256sum --quiet -c /tmp/some"], RUN_S)
        assert checked.exit_code == 0, checked.stdout
        assert [phase.name for phase in box.phases()] == ["create", "spawn", "kernel", "userspace"]
        cast(Haltable, box).shut_down(READY_S)
        assert not box.pids()


def test_too_little_memory_for_its_firmware_is_said(runtime: VmRuntime, tmp_path: Path, mark: str) -> None:
    prepared = runtime.prepare(images.build_tiny(tmp_path))
    with (
        pytest.raises(Unsupported, match="less than 160 MiB"),
        runtime.start(Spec(name=f"{mark}-2", prepared=prepared, memory_bytes=128 << 20)),
    ):
        pass

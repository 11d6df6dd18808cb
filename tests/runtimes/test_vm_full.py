"""The whole way: firmware, boot loader, kernel, systemd, and the agent as one of its services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from harness import debian, images, marks
from harness.contract import Haltable, Workspace
from harness.errors import Unsupported
from harness.model import Image, Phase, Spec
from runtimes.vm import driver
from runtimes.vm.driver import VmRuntime

pytestmark = [pytest.mark.machine, pytest.mark.slow]

READY_S = 180.0
RUN_S = 60.0


@pytest.fixture
def mark() -> Iterator[str]:
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@pytest.fixture(params=[driver.tcg_full, driver.tcg_bios], ids=["full", "bios"])
def runtime(request: pytest.FixtureRequest, home: Path, mark: str) -> Iterator[VmRuntime]:
    made: VmRuntime = request.param(Workspace(store=home, scratch=home / "scratch", mark=mark))
    yield made
    made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def system(home: Path) -> Image:
    return debian.build(home).image


def test_debian_boots_to_its_multi_user_target_and_hears_its_power_button(
    runtime: VmRuntime, system: Image, mark: str
) -> None:
    with runtime.start(Spec(name=f"{mark}-1", prepared=runtime.prepare(system))) as box:
        box.wait_ready(READY_S)

        def said(*argv: str) -> str:
            return box.run(argv, RUN_S).stdout.decode().strip()

        assert said("cat", "/proc/1/comm") == "systemd"
        assert said("systemctl", "is-active", "multi-user.target") == "active"
        assert said("systemctl", "is-active", "tare.service") == "active"
        assert said("systemctl", "--failed", "--quiet", "--no-legend") == ""
        assert said("systemctl", "is-active", "nginx") == "inactive"
        assert box.run(["sh", "-c", "cd / && grep -E ' etc/| var/' .tare/manifest >/tmp/some"], RUN_S).exit_code == 0
        checked = box.run(["sh", "-c", "cd / && sha256sum --quiet -c /tmp/some"], RUN_S)
        assert checked.exit_code == 0, checked.stdout
        cast(Haltable, box).shut_down(READY_S)
        assert not box.pids()


def test_who_started_the_kernel_is_seen(home: Path, mark: str) -> None:
    """systemd-boot says nothing, so the kernel's phase begins with the firmware's; GRUB speaks first of all."""
    whole = [phase.name for phase in _phases(driver.tcg_full, home, mark)]
    parted = {phase.name: phase for phase in _phases(driver.tcg_bios, home, mark)}
    assert whole == ["create", "spawn", "kernel", "userspace"]
    assert list(parted) == ["create", "spawn", "firmware", "kernel", "userspace"]
    firmware, kernel = parted["firmware"], parted["kernel"]
    assert 0 < firmware.ended_s - firmware.began_s < kernel.ended_s - kernel.began_s


def _phases(factory: Callable[[Workspace], VmRuntime], home: Path, mark: str) -> Sequence[Phase]:
    runtime = factory(Workspace(store=home, scratch=home / "scratch", mark=mark))
    with runtime.start(Spec(name=f"{mark}-2", prepared=runtime.prepare(images.build_tiny(home)))) as box:
        box.wait_ready(READY_S)
        phases = box.phases()
    runtime.close()
    return phases


def test_grub_hands_a_persons_words_over_as_they_are(home: Path, mark: str) -> None:
    options = {"append": "one=$two;three four"}
    runtime = driver.tcg_bios(Workspace(store=home, scratch=home / "scratch", mark=mark, options=options))
    with runtime.start(Spec(name=f"{mark}-3", prepared=runtime.prepare(images.build_tiny(home)))) as box:
        box.wait_ready(READY_S)
        told = box.run(["cat", "/proc/cmdline"], RUN_S).stdout.decode()
    runtime.close()
    assert told.endswith("tare_root=/dev/vda3 one=$two;three four\n")


def test_too_little_memory_for_its_firmware_is_said(home: Path, mark: str) -> None:
    runtime = driver.tcg_full(Workspace(store=home, scratch=home / "scratch", mark=mark))
    prepared = runtime.prepare(images.build_tiny(home))
    with (
        pytest.raises(Unsupported, match="less than 160 MiB"),
        runtime.start(Spec(name=f"{mark}-4", prepared=prepared, memory_bytes=128 << 20)),
    ):
        pass
    runtime.close()

"""Files of /proc, /sys and /dev through which a box could read or change its host, each first opened outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.contract import Instance
from tests.escape.conftest import Attempt

pytestmark = pytest.mark.machine

WRITABLE_OUTSIDE = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/fs/ext4",
    "/proc/bus/pci",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/profiling",
    "/sys/power/state",
    "/sys/module/kernel/parameters/panic",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/unified/cgroup.procs",
    "/sys/fs/cgroup/memory/release_agent",
    "/dev/kmsg",
    "/dev/mem",
    "/dev/kvm",
    "/dev/vda",
    "/dev/sda",
    "/dev/nvme0n1",
    "/dev/fuse",
    "/dev/net/tun",
    "/dev/tty1",
]
READABLE_OUTSIDE = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/interrupts",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/dev/kmsg",
    "/dev/mem",
    "/proc/kmsg",
]
FULL_OUTSIDE = ["/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap"]
ABSENT = {"ENOENT"}
DENIED = {"EROFS", "EPERM", "EACCES"}


def present(paths: list[str]) -> list[str]:
    """What this host has; the list is of many hosts."""
    return [path for path in paths if Path(path).exists()]


@pytest.mark.parametrize("path", [path for path in present(WRITABLE_OUTSIDE) if Path(path).is_file()])
def test_a_setting_of_the_host_cannot_be_written(path: str, outside: Attempt, inside: Attempt) -> None:
    assert outside("open_to_write", path, network=True) == "ok"
    assert inside("open_to_write", path) in ABSENT | DENIED


@pytest.mark.parametrize("path", [path for path in present(WRITABLE_OUTSIDE) if Path(path).is_char_device()])
def test_a_device_of_the_host_is_not_there(path: str, inside: Attempt) -> None:
    assert inside("open_to_write", path) in ABSENT


@pytest.mark.parametrize("path", [path for path in present(WRITABLE_OUTSIDE) if Path(path).is_block_device()])
def test_a_disk_of_the_host_is_not_there(path: str, inside: Attempt) -> None:
    assert inside("open_to_write", path) in ABSENT


@pytest.mark.parametrize("path", present(READABLE_OUTSIDE))
def test_what_would_tell_about_the_host_is_empty(path: str, outside: Attempt, inside: Attempt) -> None:
    if not path.endswith("kmsg"):  # reading these waits for the kernel to speak
        assert outside("read_a_byte", path) == "ok"
    assert inside("read_a_byte", path) in ABSENT | DENIED | {"ENODATA"}


@pytest.mark.parametrize("path", present(FULL_OUTSIDE))
def test_what_describes_the_hardware_is_an_empty_folder(path: str, outside: Attempt, inside: Attempt) -> None:
    assert outside("list_folder", path) == ("ok" if any(Path(path).iterdir()) else "ENODATA")
    assert inside("list_folder", path) == "ENODATA"
    assert inside("make_folder", f"{path}/x") in ABSENT | DENIED


def test_a_cover_cannot_be_taken_off(inside: Attempt) -> None:
    for path in ("/proc/keys", "/proc/acpi", "/proc/sys", "/sys/firmware", "/sys", "/proc", "/dev", "/"):
        assert inside("unmount", path) == "EPERM", path
        assert inside("remount", path) == "EPERM", path


def test_its_cgroup_cannot_be_changed_from_inside(box: Instance, inside: Attempt) -> None:
    for name in ("cgroup.procs", "cgroup.kill", "cgroup.freeze", "cgroup.max.depth", "cgroup.subtree_control"):
        assert inside("open_to_write", f"/sys/fs/cgroup/{name}") in ABSENT | DENIED, name
    assert inside("make_folder", "/sys/fs/cgroup/mine") in DENIED
    seen = box.run(["cut", "-d:", "-f3", "/proc/self/cgroup"], timeout_s=10).stdout.split()
    assert set(seen) == {b"/"}


def test_its_root_takes_no_devices(box: Instance) -> None:
    options = next(line for line in box.documents()["mounts"].splitlines() if line.split()[4] == "/").split()[5]
    assert "nodev" in options.split(",")


def test_every_mount_of_the_kernel_is_without_programs_and_devices(box: Instance) -> None:
    for line in box.documents()["mounts"].splitlines():
        path, options = line.split()[4:6]
        kind = line.split(" - ")[1].split()[0]
        if kind in ("proc", "sysfs", "cgroup2"):
            assert {"nosuid", "nodev", "noexec"} <= set(options.split(",")), path


def test_nothing_mounted_in_it_reaches_the_host(box: Instance) -> None:
    """Neither shared nor peers of anything: the word after the options is where sharing would be said."""
    for line in box.documents()["mounts"].splitlines():
        assert "shared:" not in line and "master:" not in line

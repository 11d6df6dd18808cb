"""Every doubt is raised by its fact, says what it touches, and what mends it; the script restores what it found."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import doubts, host, tune
from harness.tune import SETTINGS, Setting

QUIET: dict[str, Any] = {
    "cpus": 4,
    "load_1min": 0.1,
    "swap_bytes": 0,
    "virtualised": False,
    "steal_since_boot": 0.0,
    "isolated_cpus": "3",
    "cgroup_mode": "v2",
    "cgroup_controllers": ["cpu", "cpuset", "memory", "pids"],
    "clocksource": "tsc",
    "storage_free_bytes": 100 << 30,
    "storage_rotates": False,
    "daemons": [],
    **{setting.fact: setting.good for setting in SETTINGS},
    "smt": "0",
}


def test_a_quiet_host_raises_none() -> None:
    assert list(doubts.doubts(QUIET)) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"load_1min": 9.0}, "load is 9.0 on 4 CPUs"),
        ({"swap_bytes": 1 << 30}, "swap is on"),
        ({"virtualised": True}, "itself a virtual machine"),
        ({"steal_since_boot": 0.07}, "took 7.0% of the time"),
        ({"heat_throttled": 3}, "slowed down by heat 3 times"),
        ({"isolated_cpus": ""}, "no CPU is isolated"),
        ({"on_mains": False}, "battery"),
        ({"cgroup_controllers": ["cpu"]}, "controllers are missing: memory, cpuset, pids"),
        ({"clocksource": "hpet"}, "clock source is hpet"),
        ({"storage_free_bytes": 1 << 20}, "only 1 MiB are free"),
        ({"storage_rotates": True}, "rotates"),
        ({"daemons": ["dockerd"]}, "dockerd is running"),
        ({"governor": "powersave"}, "governor is powersave"),
        ({"no_turbo": "0"}, "turbo is on"),
        ({"boost": "1"}, "boost is on"),
        ({"smt": "1"}, "SMT"),
        ({"aslr": "0"}, "ASLR is 0"),
        ({"thp": "always"}, "huge pages"),
        ({"ksm": "1"}, "KSM"),
        ({"rcu_expedited": "1"}, "RCU"),
        ({"swappiness": "100"}, "swappiness is 100"),
        ({"vfs_cache_pressure": "200"}, "pressure 200"),
    ],
)
def test_each_fact_raises_its_own(change: dict[str, Any], what: str) -> None:
    (found,) = doubts.doubts(QUIET | change)
    assert what in found.what
    assert found.effect and found.touches and found.remedy


def test_a_controller_systemd_keeps_is_handed_down_from_the_root() -> None:
    facts = {"cgroup_controllers": ["cpu", "memory", "pids"], "cgroup_parent": "/sys/fs/cgroup/user.slice"}
    (found,) = doubts.doubts(QUIET | facts)
    assert found.remedy == (
        "for d in /sys/fs/cgroup /sys/fs/cgroup/user.slice; do echo +cpuset > $d/cgroup.subtree_control; done"
    )


def test_a_fact_that_cannot_be_read_raises_none() -> None:
    assert list(doubts.doubts({"cgroup_controllers": QUIET["cgroup_controllers"]})) == []


def test_this_host_is_described() -> None:
    facts = host.describe()
    assert facts["storage_free_bytes"] > 0
    assert 0 <= facts["steal_since_boot"] <= 1
    assert len(facts["host_id"]) == 12
    list(doubts.doubts(facts))


def test_the_script_tunes_and_restores_what_was_found(tmp_path: Path) -> None:
    for number, value in enumerate(("powersave", "schedutil", "performance")):
        (tmp_path / f"cpu{number}").write_text(f"{value}\n")
    (tmp_path / "thp").write_text("[always] madvise never\n")
    settings = (
        Setting("governor", f"{tmp_path}/cpu*", ("powersave", "schedutil"), "performance", "", "", ""),
        Setting("thp", f"{tmp_path}/thp", ("always",), "madvise", "", "", ""),
        Setting("ksm", f"{tmp_path}/missing", ("1",), "0", "", "", ""),
    )
    script = tmp_path / "tune.sh"
    script.write_text(tune.script(list(tune.changes(settings))))

    def now() -> list[str]:
        return [(tmp_path / name).read_text().strip() for name in ("cpu0", "cpu1", "cpu2", "thp")]

    subprocess.run(["sh", script, "tune"], check=True, capture_output=True)
    assert now() == ["performance", "performance", "performance", "madvise"]
    subprocess.run(["sh", script, "restore"], check=True, capture_output=True)
    assert now() == ["powersave", "schedutil", "performance", "always"]
    assert subprocess.run(["sh", script], check=False, capture_output=True).returncode == 2

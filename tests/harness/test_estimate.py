"""What a plan says about its own length."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness import estimate, host, plan, store
from harness.model import Support
from tests import fakes
from tests.reports.planted import Planting, plant, trial


def remembered(home: Path, host_id: str) -> None:
    """A run in which each boot of native took a second."""
    folder = store.RunFolder.create(home, "before")
    folder.write_run(msgspec.structs.replace(plant(Planting(ratios={})).run, host={"host_id": host_id}))
    folder.append(trial("boot", "native", 0, {"boot.ready": 1.0}))
    folder.close()


def test_trials_are_counted_and_timed_by_what_the_same_took_here(tmp_path: Path) -> None:
    config = fakes.config(runtimes=("native",), blocks=19)
    steps = plan.plan(config, [fakes.scenario()], {"native": Support(available=True)}, 1)
    assert estimate.sentence(config, steps, tmp_path) == "40 trials, no estimate for boot: not measured here before"
    remembered(tmp_path, str(host.describe()["host_id"]))
    assert estimate.sentence(config, steps, tmp_path) == "40 trials, about 40 s"
    short = msgspec.structs.replace(config, budget_s=10.0, adaptive=True)
    assert estimate.sentence(short, steps, tmp_path) == "at most 40 trials, about 10 s"


def test_another_host_says_nothing_about_this_one(tmp_path: Path) -> None:
    remembered(tmp_path, "elsewhere")
    config = fakes.config(runtimes=("native",))
    steps = plan.plan(config, [fakes.scenario()], {"native": Support(available=True)}, 1)
    assert "no estimate" in estimate.sentence(config, steps, tmp_path)

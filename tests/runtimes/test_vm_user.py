"""Virtual machines of somebody who is not root: no cgroup, no bridge, and all the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import store
from harness.model import Outcome
from tests.runtimes import unprivileged

pytestmark = [pytest.mark.machine, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LIMIT_S = 240.0
QUOTA = """
import sys
from pathlib import Path
from harness import images, kernels
from harness.contract import Workspace
from harness.errors import Unsupported
from harness.model import Spec
from runtimes.vm import driver

home = Path(sys.argv[1])
runtime = driver.tcg(Workspace(store=home, scratch=home / "scratch", mark="tare-nobody"))
prepared = runtime.prepare(images.build_tiny(home, kernels.provide(home)))
try:
    with runtime.start(Spec(name="tare-nobody-1", prepared=prepared, cpus=0.5)):
        pass
except Unsupported as error:
    print(error.message)
runtime.close()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    os.chown(made, unprivileged.UID, unprivileged.UID)
    return made


def as_nobody(home: Path, *words: str) -> str:
    """What that command of this interpreter says."""
    needed: Sequence[Path] = (Path(sys.base_prefix), Path(sys.prefix), ROOT, home)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TARE_HOME": str(home), "TMPDIR": "/tmp"}
    command = unprivileged.argv([sys.executable, *words], needed)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_root_boxes_are_measured_and_what_is_missing_is_said(home: Path) -> None:
    checked = as_nobody(home, "-m", "harness", "check")
    assert "cgroup: none, for want of permission" in checked
    assert "network: none: bridges are made as root" in checked

    as_nobody(home, "-m", "harness", "run", "quick", "--runtime", "native,tcg", "--blocks", "1")
    (run,) = (home / "runs").iterdir()
    trials = [trial for trial in store.read(run).trials if trial.step.cell.runtime == "tcg"]
    by_scenario = {trial.step.cell.scenario: trial for trial in trials}
    assert by_scenario.keys() == {"boot", "boot-service", "memory", "disk", "cpu"}
    assert {trial.step.cell.scenario for trial in trials if trial.outcome is not Outcome.OK} == {"boot-service"}
    assert by_scenario["boot-service"].reason == "tcg has no network"
    memory = {sample.metric: sample.value for sample in by_scenario["memory"].samples}
    assert memory["memory.requested"] > memory["memory.guest_resident"] > 0
    assert "no cgroup" in by_scenario["cpu"].absent["cpu.integer.host"]

    assert "which a CPU quota needs" in as_nobody(home, "-c", QUOTA, str(home))

"""A box as the host knows it: where it is and its first process, whatever program that runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.cgroups import Cgroup
from harness.errors import TrialTimeout
from runtimes.container.launcher import END_DEADLINE_S, Process


@dataclass(frozen=True, slots=True)
class Box:
    """What it is charged to, what it writes to, where it can be reached, and what started it."""

    cgroup: Cgroup
    folder: Path
    address: str | None
    process: Process

    @property
    def name(self) -> str:
        return self.cgroup.name

    def stop(self) -> None:
        """Kills everything in it, waits until the kernel has taken it apart, and removes its cgroup. Harmless twice.

        Where the first process has ended, the kernel has killed the others.
        """
        if not self.process.ended(0):
            self.cgroup.kill()
            self.process.kill()
            if not self.process.ended(END_DEADLINE_S):
                raise TrialTimeout(f"{self.name} did not end within {END_DEADLINE_S:g} s of being killed")
        self.cgroup.remove()

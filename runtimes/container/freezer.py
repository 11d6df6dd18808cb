"""Holds every process of a cgroup where it stands, and lets it go on: v2 `cgroup.freeze`, else the v1 freezer.

On a hybrid host the v2 file works without any controller.
"""

from __future__ import annotations

import select
import time
from pathlib import Path

from harness.cgroups import UNIFIED, Cgroup
from harness.errors import TrialTimeout, Unsupported

DEADLINE_S = 10.0
_RETRY_S = 0.001


def freeze(cgroup: Cgroup) -> None:
    """Returns when nothing in the cgroup runs any more. TrialTimeout leaves it thawed."""
    _set(cgroup, frozen=True)


def thaw(cgroup: Cgroup) -> None:
    """Returns when all of it may run again."""
    _set(cgroup, frozen=False)


def is_frozen(cgroup: Cgroup) -> bool:
    """Whether it is held, by whoever."""
    unified = cgroup.paths.get(UNIFIED)
    try:
        if unified is not None and (unified / "cgroup.events").exists():
            return "frozen 1\n" in (unified / "cgroup.events").read_text()
        return "freezer" in cgroup.paths and (cgroup.paths["freezer"] / "freezer.state").read_text().strip() == "FROZEN"
    except FileNotFoundError:  # it has ended meanwhile
        return False


def _set(cgroup: Cgroup, *, frozen: bool) -> None:
    unified = cgroup.paths.get(UNIFIED)
    if unified is not None and (unified / "cgroup.freeze").exists():
        done = _set_v2(unified, frozen)
    elif "freezer" in cgroup.paths:
        done = _set_v1(cgroup.paths["freezer"] / "freezer.state", frozen)
    else:
        raise Unsupported("nothing here can pause a cgroup", hint="use Linux 5.2 or newer, or mount the v1 freezer")
    if not done:
        if frozen:
            thaw(cgroup)  # a half-frozen box would not even die
        raise TrialTimeout(f"{cgroup.name} did not {'freeze' if frozen else 'thaw'} within {DEADLINE_S:g} s")


def _set_v2(folder: Path, frozen: bool) -> bool:
    """The kernel announces a change in `cgroup.events` as an exceptional condition of the open file."""
    wanted = f"frozen {int(frozen)}\n"
    give_up = time.monotonic() + DEADLINE_S
    with (folder / "cgroup.events").open() as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        (folder / "cgroup.freeze").write_text(str(int(frozen)))
        while wanted not in events.read():
            if not poll.poll(max(0.0, give_up - time.monotonic()) * 1000):
                return False
            events.seek(0)
    return True


def _set_v1(state: Path, frozen: bool) -> bool:
    """The v1 freezer announces nothing, and must be told again while it says FREEZING."""
    wanted = "FROZEN" if frozen else "THAWED"
    give_up = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up:
        state.write_text(wanted)
        if state.read_text().strip() == wanted:
            return True
        time.sleep(_RETRY_S)
    return False

"""Entry points → objects. Built-ins use the same door as strangers; nothing is imported before it is chosen."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.boxes import Boxes
from harness.contract import Report, Runtime, RuntimeFactory, Scenario, Workspace
from harness.errors import UsageError
from harness.gate import Comparer

RUNTIMES = "tare.runtimes"
SCENARIOS = "tare.scenarios"
REPORTS = "tare.reports"
SUITES = "tare.suites"
COMPARERS = "tare.comparers"
COMMANDS = "tare.commands"


def names(group: str) -> list[str]:
    """All names of a group, in the order of registration; imports none of them."""
    return list(_points(group))


def runtime(name: str, workspace: Workspace) -> Runtime:
    factory: RuntimeFactory = _load(RUNTIMES, name)
    return factory(workspace)


def scenario(name: str) -> Scenario:
    found: Scenario = _load(SCENARIOS, name)
    return found


def report(name: str) -> Report:
    found: Report = _load(REPORTS, name)
    return found


def boxes() -> Boxes:
    """Whoever carries out `tare box`."""
    made: Boxes = _load(COMMANDS, "box")()
    return made


def comparer() -> Comparer:
    """Who rules over old and new: the one that is registered."""
    found: Comparer = _load(COMPARERS, "gate")
    return found


def suite_packages() -> list[str]:
    """Packages that hold suite files."""
    return [point.value for point in _points(SUITES).values()]


def unknown(kind: str, name: str, known: list[str]) -> UsageError:
    """The error for a name nobody has, with the nearest one that somebody does."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"no {kind} named {name!r}", hint=f"{meant}there are: {', '.join(known)}")


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def _load(group: str, name: str) -> Any:
    points = _points(group)
    if name not in points:
        raise unknown(group.removeprefix("tare.").removesuffix("s"), name, list(points))
    return points[name].load()

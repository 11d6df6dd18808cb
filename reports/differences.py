"""What two runs differ in, in the words of a sentence; the list itself is `harness.differences`."""

from __future__ import annotations

from harness.differences import Weight, between
from harness.model import Run


def differing(one: Run, other: Run) -> list[str]:
    """What a step from one run to the other may come from; empty when nothing is known that would make one."""
    found = [difference for difference in between(one, other) if difference.weight is not Weight.CONTEXT]
    return [difference.what.removeprefix("host ").replace("_", " ") for difference in found]


def deciding(one: Run, other: Run) -> bool:
    """Whether the two may not be compared without saying so."""
    return any(difference.decides for difference in between(one, other))

"""What keeps two runs from being compared: everything that decides their numbers and is not equal.

Ratios inside a run survive most of these differences; absolute values do not.
"""

from __future__ import annotations

from harness.model import Metric, Run, Support

FACTS = ("kernel", "cpu_model", "cpus", "memory_bytes", "cgroup_mode", "virtualised", "governor", "smt")
"""Facts of a host that decide its numbers."""


def differing(one: Run, other: Run) -> list[str]:
    """What keeps two runs from being compared, in words; empty when nothing is known that would."""
    found = [fact.replace("_", " ") for fact in FACTS if one.host.get(fact) != other.host.get(fact)]
    if _images(one) != _images(other):
        found.append("image")
    for name in sorted(set(one.supports) & set(other.supports)):
        if _box(one.supports[name]) != _box(other.supports[name]):
            found.append(f"how {name} boxes")
    if one.config.options != other.config.options:
        found.append("options of the runtimes")
    mine, theirs = _metrics(one), _metrics(other)
    changed = [name for name in mine if name in theirs and _definition(mine[name]) != _definition(theirs[name])]
    return [*found, *(f"the meaning of {name}" for name in changed)]


def _images(run: Run) -> dict[str, str]:
    return {name: image.content_digest for name, image in run.images.items()}


def _box(support: Support) -> tuple[str, bool]:
    return (support.version, support.emulated) if support.available else ("", False)


def _metrics(run: Run) -> dict[str, Metric]:
    return {metric.name: metric for scenario in run.scenarios for metric in scenario.metrics}


def _definition(metric: Metric) -> tuple[str, ...]:
    return metric.unit, metric.better, metric.kind, metric.meaning

"""What is not the same in two runs, and what that means for comparing them: the one list, for gates, merges, reports.

What decides a number forbids comparing without saying so. What matters moves some numbers: a step may come from it. The
rest is context, for whoever wonders. Ratios inside a run survive most of these differences; absolute values do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from harness.model import Metric, Run


class Weight(StrEnum):
    DECIDES = "decides"
    MATTERS = "matters"
    CONTEXT = "context"


HOST: dict[str, Weight] = {
    **dict.fromkeys(
        ("host_id", "machine", "cpu_model", "cpus", "memory_bytes", "virtualised", "kernel", "cgroup_mode"),
        Weight.DECIDES,
    ),
    **dict.fromkeys(
        (
            "governor", "no_turbo", "boost", "smt", "isolated_cpus", "aslr", "thp", "ksm", "rcu_expedited",
            "clocksource", "swap_bytes",
        ),
        Weight.MATTERS,
    ),
    **dict.fromkeys(("distribution", "python", "boot_id"), Weight.CONTEXT),
}  # fmt: skip
"""Facts of a host."""
_PROFILE = {"domain.xml": r"<(?:type|cpu|tb-cache|vcpu)\b[^>]*>", "kernel command line": r".+"}
"""What of a box's documents says what kind of machine it was; the rest names the run and its folders."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same, and on either side what it is."""

    what: str
    old: str
    new: str
    weight: Weight

    @property
    def decides(self) -> bool:
        """No comparison without saying that one wants it nevertheless."""
        return self.weight is Weight.DECIDES


def between(one: Run, two: Run) -> Iterator[Difference]:
    """All that is not the same in two runs; nothing where they are one."""
    if one.id != two.id:
        yield from (*_host(one, two), *_given(one, two), *_boxes(one, two), *_definitions(one, two))


def _host(one: Run, two: Run) -> Iterator[Difference]:
    for key, weight in HOST.items():
        old, new = one.host.get(key), two.host.get(key)
        if old != new and (key != "host_id" or (old and new)):  # the first schema knew no host_id
            yield Difference(f"host {key}", str(old), str(new), weight)


def _guest_kernels(run: Run) -> str:
    """Digests of those that its boxes brought, whether the image named one or the runtime chose."""
    images = (*(prepared.image for prepared in run.prepared.values()), run.images.get(run.config.image))
    return ", ".join(sorted({image.kernel.digest for image in images if image and image.kernel})) or "none"


def _given(one: Run, two: Run) -> Iterator[Difference]:
    images = [run.images.get(run.config.image) for run in (one, two)]
    digests = [image.digest if image else "none" for image in images]
    kernels = [_guest_kernels(run) for run in (one, two)]
    pairs = (
        ("image digest", digests, Weight.DECIDES),
        ("guest kernel", kernels, Weight.DECIDES),
        ("memory of a box", [str(run.config.memory_bytes) for run in (one, two)], Weight.DECIDES),
        ("CPUs of a box", [str(len(run.config.cpuset)) for run in (one, two)], Weight.DECIDES),
        ("options", [str(run.config.options) for run in (one, two)], Weight.MATTERS),
        ("tare", [run.version for run in (one, two)], Weight.CONTEXT),
    )
    for what, (old, new), weight in pairs:
        if old != new:
            yield Difference(what, old, new, weight)


def _boxes(one: Run, two: Run) -> Iterator[Difference]:
    for name in [name for name in one.supports if name in two.supports]:
        old, new = one.supports[name], two.supports[name]
        if not (old.available and new.available):
            continue
        if old.emulated != new.emulated:
            yield Difference(f"{name} is emulation", str(old.emulated), str(new.emulated), Weight.DECIDES)
        if old.version != new.version:
            yield Difference(f"{name} version", old.version, new.version, Weight.MATTERS)
        if _profile(one, name) != _profile(two, name):
            yield Difference(f"{name} machine", _profile(one, name), _profile(two, name), Weight.DECIDES)


def _profile(run: Run, runtime: str) -> str:
    documents = run.documents.get(runtime, {})
    parts = (part for name, pattern in _PROFILE.items() for part in re.findall(pattern, documents.get(name, "")))
    return " ".join(parts)


def _definitions(one: Run, two: Run) -> Iterator[Difference]:
    defined = [{metric.name: metric for facts in run.scenarios for metric in facts.metrics} for run in (one, two)]
    for name in [name for name in defined[0] if name in defined[1]]:
        old, new = (_definition(metrics[name]) for metrics in defined)
        if old != new:
            yield Difference(f"definition of {name}", old, new, Weight.DECIDES)


def _definition(metric: Metric) -> str:
    return f"{metric.meaning} [{metric.unit}, {metric.better}, {metric.kind}]"

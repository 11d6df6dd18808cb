"""Times in the format of pytest-benchmark, so that its own `compare` and whatever reads its files can read ours.

Its tables are in seconds whatever is measured, so only times are benchmarks, one a series: the metric is the group and
the box the parameter. What this run was stands under the key `tare`, which other readers ignore. The statistics are
defined as that tool defines them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.model import Results, Run
from reports import tidy, values
from reports.tidy import Tidy
from reports.values import Measured

VERSION = "5.3.1"
"""The release whose format this is."""


@dataclass(frozen=True, slots=True)
class PytestBenchmarkReport:
    """One file for `pytest-benchmark compare`."""

    name: str = "pytest-benchmark"
    suffix: str = ".json"

    def render(self, results: Sequence[Results]) -> str:
        data = tidy.read(results)
        last = data.runs[-1]
        document = {
            "machine_info": machine(last),
            "commit_info": {},
            "benchmarks": [_benchmark(data, one) for one in values.times(data)],
            "datetime": last.started_at,
            "version": VERSION,
            "tare": {"runs": [_about(run) for run in data.runs]},
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=1).decode()


def machine(run: Run) -> dict[str, Any]:
    """The host under the names that tool uses, and whole under our own."""
    return {
        "node": "",
        "processor": "",
        "machine": run.host.get("machine", ""),
        "python_version": run.host.get("python", ""),
        "release": run.host.get("kernel", ""),
        "system": "Linux",
        "cpu": {"brand_raw": run.host.get("cpu_model", ""), "count": run.host.get("cpus")},
        "tare": dict(run.host),
    }


def _about(run: Run) -> dict[str, Any]:
    images = {name: image.digest for name, image in run.images.items()}
    return {"schema": run.schema, "id": run.id, "suite": run.config.suite, "seed": run.seed, "images": images}


def _benchmark(data: Tidy, one: Measured) -> dict[str, Any]:
    several = f"{one.series.run}/" if len(data.runs) > 1 else ""
    name = f"{one.metric.name}[{one.box}{f'-{one.where}' if one.where else ''}]"
    return {
        "group": one.group,
        "name": name,
        "fullname": f"{several}{one.series.scenario}::{name}",
        "params": {"runtime": one.box, **({"cell": one.where} if one.where else {})},
        "param": one.box,
        "extra_info": {"run": one.series.run, "emulated": one.emulated, "meaning": one.metric.meaning},
        "options": {"timer": "monotonic", "min_rounds": len(one.values), "warmup": False, "disable_gc": False},
        "stats": stats(one.values),
    }


def stats(data: Sequence[float]) -> Mapping[str, Any]:
    """Bit for bit what that tool makes of the same values."""
    ordered, mean = sorted(data), statistics.mean(data)
    deviation = statistics.stdev(data) if len(data) > 1 else 0
    q1, q3 = quartiles(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(not mean - deviation <= value <= mean + deviation for value in data)
    beyond = sum(not low <= value <= high for value in data)
    total = sum(data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": statistics.median(data),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": next(value for value in ordered if value >= low),
        "hd15iqr": next(value for value in reversed(ordered) if value <= high),
        "ops": len(data) / total if total else 0,
        "total": total,
        "data": list(data),
        "iterations": 1,
    }


def quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    """Halves for an even count, Mendenhall and Sincich's quarter steps for an odd one."""
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    if count % 2 == 0:
        return statistics.median(ordered[: count // 2]), statistics.median(ordered[count // 2 :])
    n = count // 4
    if count % 4 == 1:
        return (
            0.25 * ordered[n - 1] + 0.75 * ordered[n],
            0.75 * ordered[3 * n] + 0.25 * ordered[3 * n + 1],
        )
    return (
        0.75 * ordered[n] + 0.25 * ordered[n + 1],
        0.25 * ordered[3 * n + 1] + 0.75 * ordered[3 * n + 2],
    )


pytest_benchmark = PytestBenchmarkReport()

"""Files for other tools: hyperfine's JSON (its plotting scripts read it) and Bencher's metric format.

hyperfine knows times alone and gives each a user and a system time, which no box is asked for here: they are null.
Bencher takes any measure with its bounds; what it calls `latency` is in nanoseconds and `file-size` in bytes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from harness.model import Results, Unit
from reports import tidy, values
from reports.summary import median_interval
from reports.values import Measured

NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class HyperfineReport:
    """What `hyperfine --export-json` would write, had it measured these times."""

    name: str = "hyperfine"
    suffix: str = ".json"

    def render(self, results: Sequence[Results]) -> str:
        found = [_result(one) for one in values.times(tidy.read(results))]
        return msgspec.json.format(msgspec.json.encode({"results": found}), indent=1).decode()


@dataclass(frozen=True, slots=True)
class BmfReport:
    """Bencher metric format: medians with their 95 % intervals."""

    name: str = "bmf"
    suffix: str = ".json"

    def render(self, results: Sequence[Results]) -> str:
        data = tidy.read(results)
        several = len(data.runs) > 1
        found: dict[str, dict[str, dict[str, float]]] = {}
        for one in values.measured(data):
            name = f"{one.series.run}/" if several else ""
            found[f"{name}{one.group}/{one.box}"] = {_measure(one): _bounds(one)}
        return msgspec.json.format(msgspec.json.encode(found), indent=1).decode()


def _result(one: Measured) -> dict[str, Any]:
    parameters = {"metric": one.metric.name, "runtime": one.box, "run": one.series.run}
    return {
        "command": f"{one.group} {one.box}",
        "mean": statistics.mean(one.values),
        "stddev": statistics.stdev(one.values) if len(one.values) > 1 else None,
        "median": statistics.median(one.values),
        "user": None,
        "system": None,
        "min": min(one.values),
        "max": max(one.values),
        "times": list(one.values),
        "exit_codes": [0] * len(one.values),
        "parameters": parameters | ({"cell": one.where} if one.where else {}),
    }


def _measure(one: Measured) -> str:
    if one.metric.unit is Unit.BYTES:
        return "file-size" if one.metric.name.startswith("disk.") else "memory"
    return {Unit.SECONDS: "latency"}.get(one.metric.unit, "ratio")


def _bounds(one: Measured) -> dict[str, float]:
    factor = NANOSECONDS if one.metric.unit is Unit.SECONDS else 1.0
    low, high = median_interval(np.asarray(one.values))
    bounds = {} if math.isnan(low) else {"lower_value": low * factor, "upper_value": high * factor}
    return {"value": statistics.median(one.values) * factor, **bounds}


hyperfine = HyperfineReport()
bmf = BmfReport()

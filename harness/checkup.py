"""`tare check`: what this host can run and why not, what makes it noisy, and what mends each."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import msgspec

from harness import doubts, host, marks, paths, registry, session
from harness.model import Support, Value


class Findings(Value, frozen=True, kw_only=True, omit_defaults=False):
    host: dict[str, Any]
    supports: dict[str, Support]
    doubts: list[dict[str, str]]


def examine() -> Findings:
    """Probes every runtime; starts at most their bounded canaries."""
    home = paths.home()
    facts = host.describe()
    with marks.claimed(marks.new_id()) as mark:
        scratch = home / "scratch" / mark
        try:
            workspace = session.workspaces(home, scratch, mark, {})
            runtimes, supports = session.probe(registry.names(registry.RUNTIMES), workspace)
            for runtime in runtimes.values():
                runtime.close()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Findings(host=facts, supports=supports, doubts=[asdict(doubt) for doubt in doubts.doubts(facts)])


def as_json(findings: Findings) -> str:
    runtimes = [{"name": name, **msgspec.to_builtins(support)} for name, support in _complete(findings)]
    document = {"host": findings.host, "runtimes": runtimes, "doubts": findings.doubts}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _complete(findings: Findings) -> list[tuple[str, dict[str, Any]]]:
    """Every field of every support, at its default too: readers of JSON should not have to know our defaults."""
    return [
        (name, {field: msgspec.to_builtins(getattr(support, field)) for field in support.__struct_fields__})
        for name, support in findings.supports.items()
    ]


def as_text(findings: Findings) -> str:
    facts = findings.host
    lines = [
        f"{facts['distribution']}, Linux {facts['kernel']}, {facts['cpus']} CPUs ({facts['cpu_model']}), "
        f"{facts['memory_bytes'] / 2**30:.1f} GiB, cgroup {facts['cgroup_mode']}",
        "",
        "Runtimes",
    ]
    for name, support in findings.supports.items():
        state = "emulation" if support.available and support.emulated else "yes" if support.available else "no"
        lines.append(f"  {name:<12} {state:<10} {support.version if support.available else support.reason}")
        if not support.available and support.hint:
            lines.append(f"  {'':<23} → {support.hint}")
        lines += [f"  {'':<23} {key}: {value}" for key, value in support.facts.items()]
    lines += ["", "Noise"]
    for doubt in findings.doubts:
        lines.append(f"  {doubt['what']}: {doubt['effect']} [{doubt['touches']}]")
        if doubt["remedy"]:
            lines.append(f"    → {doubt['remedy']}")
    return "\n".join(lines if findings.doubts else [*lines, "  nothing was found"])

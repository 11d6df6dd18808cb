"""`tare list` and friends: what there is, as lines for people."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from harness import images, paths, registry, store, suites
from harness.errors import UsageError
from harness.model import Image, Outcome, Results, Step

_MIB = 1 << 20


def describe(what: str) -> str:
    """One kind of thing, or all kinds."""
    kinds: dict[str, Callable[[], Iterator[str]]] = {
        "runtimes": lambda: iter(registry.names(registry.RUNTIMES)),
        "scenarios": _scenarios,
        "reports": lambda: iter(registry.names(registry.REPORTS)),
        "suites": _suites,
        "images": _images,
        "runs": _runs,
    }
    if not what:
        return "\n\n".join(f"{kind}\n" + "\n".join(f"  {line}" for line in lines()) for kind, lines in kinds.items())
    if what not in kinds:
        raise registry.unknown("list", what, list(kinds))
    return "\n".join(kinds[what]())


def steps(plan: Sequence[Step]) -> str:
    """The plan, a line a step."""
    return "\n".join(_step(step) for step in plan)


def image(one: Image) -> str:
    lines = [
        f"{one.name}  {one.digest}",
        f"content  {one.content_digest}  {one.content_bytes} bytes",
        *(f"layer    {layer.digest}  {layer.size_bytes} bytes" for layer in one.layers),
    ]
    lines += [f"{label:<8} {value}" for label, value in _wants(one) if value]
    if one.kernel:
        lines.append(f"kernel   {one.kernel.version}  {one.kernel.digest}")
    return "\n".join(lines)


def _wants(one: Image) -> Iterator[tuple[str, str]]:
    """How the image wants to be run, as far as it says."""
    yield "runs", shlex.join((*one.entrypoint, *one.command))
    yield "as", one.user
    yield "in", one.working_dir
    yield "with", shlex.join(one.env)


def _step(step: Step) -> str:
    cell = step.cell
    params = " ".join(f"{name}={value}" for name, value in cell.params.items())
    what = f"{cell.scenario:<10} {cell.runtime:<12} {params}{' twin' if cell.twin else ''}".rstrip()
    if step.skip:
        return f"skipped          {what}: {step.skip}"
    return f"block {step.block:>2} {'warm-up' if step.warmup else '':<8} {what}"


def _scenarios() -> Iterator[str]:
    for name in registry.names(registry.SCENARIOS):
        scenario = registry.scenario(name)
        yield f"{name:<10} {scenario.asks}"
        for metric in scenario.metrics:
            yield f"  {metric.name:<24} {metric.unit}  {metric.meaning}"


def _suites() -> Iterator[str]:
    for name in sorted(suites.built_in()):
        yield f"{name:<10} {suites.load(name).title}"


def _images() -> Iterator[str]:
    for one in images.stored(paths.home()):
        yield f"{one.name:<10} {one.digest[:19]}  {one.content_bytes / _MIB:.1f} MiB"


def _runs() -> Iterator[str]:
    """A line a run, oldest first; a damaged one keeps its line."""
    for folder in store.run_folders(paths.home()):
        try:
            yield _run(store.read(folder))
        except UsageError as error:
            yield f"{folder.name}  cannot be read: {error.message}"


def _run(results: Results) -> str:
    run = results.run
    host = f"{run.host.get('cpu_model', 'unknown CPU')}, Linux {run.host.get('kernel', 'unknown')}"
    return f"{run.id}  {run.started_at}  {run.config.suite:<10} {host}  {outcome(results)}"


def outcome(results: Results) -> str:
    """How much was measured, and how it went: `3 of 20 blocks, 41 ok, 2 failed`."""
    trials = [trial for trial in results.trials if not trial.step.warmup]
    counts = Counter(trial.outcome for trial in trials)
    blocks = len({trial.step.block for trial in trials if trial.outcome is not Outcome.SKIPPED})
    config = results.run.config
    planned = f" of {config.blocks}" if not config.adaptive and blocks != config.blocks else ""
    went = ", ".join(f"{counts[one]} {one}" for one in Outcome if counts[one])
    return f"{blocks}{planned} blocks, {went or 'nothing measured'}"

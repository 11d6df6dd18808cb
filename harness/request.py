"""What somebody said on the command line → the resolved request, or a clear word about what is wrong with it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import registry, suites
from harness.errors import UsageError
from harness.model import Config


@dataclass(frozen=True, slots=True)
class Said:
    """The words of `run` and `plan`; None where nothing was said."""

    suite: str
    runtimes: Sequence[str] | None
    scenarios: Sequence[str] | None
    image: str | None
    blocks: int | None
    budget_s: float | None
    kernel: str | None
    modules: str | None
    options: Sequence[str] | None
    precision: float | None = None


def anything(said: Said) -> bool:
    """Whether anything was said at all."""
    return any(getattr(said, name) for name in Said.__slots__)


def resolve(said: Said) -> Config:
    """The suite with what was said, every name known, the boxes' CPU chosen."""
    if not said.suite:
        raise UsageError("no suite was named", hint=f"there are: {', '.join(sorted(suites.built_in()))}")
    overrides = {
        "runtimes": _split(said.runtimes),
        "scenarios": _split(said.scenarios),
        "image": said.image,
        **_how_many(said),
        "budget_s": said.budget_s,
        "kernel": said.kernel,
        "modules": said.modules,
        "options": options_of(said.options),
        "cpuset": (boxes_cpu(),),
    }
    config = suites.configure(said.suite, suites.load(said.suite), overrides)
    _check_names("runtime", [name for entry in config.runtimes for name in entry.split("|")], registry.RUNTIMES)
    _check_names("scenario", [*config.scenarios, *config.grid], registry.SCENARIOS)
    _check_names("runtime", [config.reference, *_addressed(config.options)], registry.RUNTIMES)
    _check_addressed(_addressed(options_of(said.options)), config)
    return config


def _addressed(options: Mapping[str, str]) -> list[str]:
    """The runtimes that options are meant for."""
    return [key.partition(".")[0] for key in options]


def _check_addressed(said: Sequence[str], config: Config) -> None:
    """What a suite has for a runtime that was left out is no mistake; what somebody typed for one is."""
    for name in said:
        if name not in (wanted := [one for entry in config.runtimes for one in entry.split("|")]):
            raise UsageError(f"an option is for {name}, which is not asked for", hint=f"asked for: {', '.join(wanted)}")


def _how_many(said: Said) -> dict[str, object]:
    """A number of blocks that was said is kept to, unless a precision was: then it is the most there may be."""
    if said.precision is not None:
        if not 0 < said.precision < 100:
            raise UsageError(f"precision {said.precision:g} % is not between 0 and 100", hint="e.g. --precision 5")
        most = {} if said.blocks is None else {"most_blocks": said.blocks, "blocks": said.blocks}
        return {"adaptive": True, "precision": said.precision / 100, **most}
    return {} if said.blocks is None else {"adaptive": False, "blocks": said.blocks}


def seed_or_new(seed: int | None) -> int:
    return secrets.randbelow(1 << 31) if seed is None else seed


def boxes_cpu() -> int:
    """All boxes run on the same single CPU: the last of ours, away from the first, where interrupts tend to go."""
    return max(os.sched_getaffinity(0))


def _split(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(part for word in words for part in word.split(","))) if words else None


def options_of(words: Sequence[str] | None) -> dict[str, str]:
    """RUNTIME.NAME → value."""
    options = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals or "." not in key:
            raise UsageError(f"option {word!r} is not RUNTIME.NAME=VALUE", hint="e.g. --option tcg.uri=qemu:///system")
        options[key] = value
    return options


def _check_names(kind: str, names: Sequence[str], group: str) -> None:
    known = registry.names(group)
    for name in names:
        if name not in known:
            raise registry.unknown(kind, name, known)

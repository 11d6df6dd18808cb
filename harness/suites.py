"""A suite is a TOML file: which scenarios over which runtimes, how often. Built-in ones come with the scenarios.

title = "…"
scenarios = ["boot", "memory"]
runtimes = ["native", "container", "kvm|tcg"]   # the first of the alternatives that works here
blocks = 5
[grid.cpu]                                       # overrides the scenario's own parameters
size = ["small"]
"""

from __future__ import annotations

import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from harness import registry
from harness.errors import UsageError
from harness.model import Config

LEAST_MEMORY_BYTES = 16 << 20
"""No box of any kind starts in less."""

Some = Annotated[tuple[str, ...], Meta(min_length=1)]


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The words a suite file may hold; what it leaves out keeps the default of `Config`."""

    title: str = ""
    scenarios: Some
    runtimes: Some
    image: str = "tiny"
    blocks: Annotated[int, Meta(ge=1)] = 20
    warmup_blocks: Annotated[int, Meta(ge=0)] = 1
    adaptive: bool = False
    most_blocks: Annotated[int, Meta(ge=1)] = 60
    precision: Annotated[float, Meta(gt=0, lt=1)] | None = None
    repeat_tainted: bool = True
    budget_s: Annotated[float, Meta(gt=0)] | None = None
    trial_timeout_s: Annotated[float, Meta(gt=0)] = 120.0
    settle_s: Annotated[float, Meta(ge=0)] = 5.0
    reference: str = "native"
    memory_bytes: Annotated[int, Meta(ge=LEAST_MEMORY_BYTES)] = 256 << 20
    grid: dict[str, dict[str, list[str]]] = {}


def built_in() -> dict[str, Traversable]:
    """Suite name → its file, from every package registered as `tare.suites`."""
    return {
        file.name.removesuffix(".toml"): file
        for package in registry.suite_packages()
        for file in resources.files(package).iterdir()
        if file.name.endswith(".toml")
    }


def load(name: str) -> Suite:
    """A built-in suite by name, or a file; UsageError that says where the file is wrong."""
    path = Path(name)
    if path.suffix == ".toml":
        return _parse(_read(path), str(path))
    files = built_in()
    if name not in files:
        raise registry.unknown("suite", name, sorted(files))
    return _parse(files[name].read_text(), name)


def configure(name: str, suite: Suite, overrides: dict[str, Any]) -> Config:
    """The resolved request: the suite with what was said on the command line (None means not said)."""
    values: dict[str, Any] = {field: getattr(suite, field) for field in suite.__struct_fields__ if field != "title"}
    values |= {field: value for field, value in overrides.items() if value is not None}
    return Config(suite=name, **values)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the suite {path}: {error}", hint=f"built-in: {', '.join(sorted(built_in()))}"
        ) from None


def _parse(text: str, where: str) -> Suite:
    try:
        return msgspec.convert(tomllib.loads(text), Suite)
    except tomllib.TOMLDecodeError as error:  # says the line
        raise UsageError(f"suite {where}: {error}", hint="it must be TOML; see docs/suites.md") from None
    except msgspec.ValidationError as error:
        line = _line_of(text, str(error))
        raise UsageError(f"suite {where}{line}: {error}", hint="docs/suites.md lists what a suite may say") from None


def _line_of(text: str, message: str) -> str:
    """Which line an invalid value stands in, by the name the message quotes."""
    for quoted in message.replace("$.", "`").split("`"):
        for number, line in enumerate(text.splitlines(), 1):
            if quoted and line.partition("=")[0].strip() == quoted.strip():
                return f", line {number}"
    return ""

"""Every value that crosses a border: the results schema, and its history.

A run is one folder: `run.json` holds a `Run`, `trials.jsonl` one `Trial` a line, appended while measuring.
Base units only: seconds, bytes, ratios. Raw samples only: every summary is derived on read.

History of the schema since 1.0 (readers accept unknown fields, refuse a newer major version by name):
    tare-result/1.1  optional fields: Step.attempt, Metric.precision, Config.adaptive, .most_blocks, .precision,
                     .repeat_tainted, .base_run, .base, Run.sessions; more in Trial.noise, .taints, Feature
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

SCHEMA = "tare-result/1.1"
Params = dict[str, str]


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all records: immutable; a field at its default is not written."""


class Unit(StrEnum):
    SECONDS = "s"
    BYTES = "B"
    RATIO = "1"


class Better(StrEnum):
    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


class Kind(StrEnum):
    SAMPLED = "sampled"
    """Varies from trial to trial: summarised with an interval."""
    EXACT = "exact"
    """The same in every trial of a cell: any variation is an error."""


class Outcome(StrEnum):
    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMEOUT = "timeout"


class Feature(StrEnum):
    """Optional powers: a runtime declares them, a scenario needs them, the planner subtracts."""

    EXEC = "exec"
    LIMITS = "limits"
    PAUSE = "pause"
    NETWORK = "network"
    CHECKPOINT = "checkpoint"
    SHUTDOWN = "shutdown"


class Kernel(Value, frozen=True, kw_only=True):
    """A guest kernel: `path` is the bootable file, `modules` the folder that holds `modules.dep`."""

    version: str
    path: str
    modules: str
    digest: str


class Layer(Value, frozen=True, kw_only=True):
    """One layer of an image: `path` is the compressed blob in the store."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int
    path: str


class Image(Value, frozen=True, kw_only=True):
    """One root file system by digest, the same bytes for every runtime.

    `digest` names the OCI manifest; `content_digest` is the SHA-256 of the list of files the agent can recompute
    from inside any box (`/.tare/manifest`); `root` is the unpacked tree in the store, read-only by agreement.
    """

    name: str
    digest: str
    content_digest: str
    content_bytes: int
    layers: tuple[Layer, ...]
    root: str
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """What the image wants to run, when nobody says otherwise: `entrypoint` followed by `command`."""
    working_dir: str = ""
    user: str = ""
    """As it stands in the image: a name or number, or two with a colon between; not looked up yet."""
    stop_signal: str = ""
    kernel: Kernel | None = None


class Role(StrEnum):
    """What a prepared file is for."""

    ROOT = "root"
    LAYER = "layer"
    KERNEL = "kernel"
    INITRD = "initrd"


class Artifact(Value, frozen=True, kw_only=True):
    """One file (or tree) a runtime needs to start the image. `path` may be a folder for `Role.ROOT`.

    `virtual_bytes` is the size it claims to the box, when that differs from the file's own (a sparse or qcow2 disk).
    `compressed`: its bytes are shipped as they are; everything else is compressed before it travels.
    """

    role: Role
    path: str
    virtual_bytes: int | None = None
    compressed: bool = False


class Prepared(Value, frozen=True, kw_only=True):
    """An image as one runtime starts it, with every file that takes."""

    image: Image
    artifacts: tuple[Artifact, ...]


class Spec(Value, frozen=True, kw_only=True):
    """One box to start. `cpuset` lists host CPUs; `cpus` is a quota (0.5 = half a CPU); None means no limit."""

    name: str
    prepared: Prepared
    cpuset: tuple[int, ...] = ()
    cpus: float | None = None
    memory_bytes: int = 256 << 20
    pids: int | None = None
    network: str = "none"


class Phase(Value, frozen=True):
    """A stage of a start, by the host's monotonic clock. Consecutive phases share an instant."""

    name: str
    began_s: float
    ended_s: float


class Support(Value, frozen=True, kw_only=True):
    """What a runtime's probe found. `emulated` puts the word on everything made from it."""

    available: bool
    reason: str = ""
    hint: str = ""
    version: str = ""
    emulated: bool = False
    features: tuple[Feature, ...] = ()
    facts: dict[str, str] = {}


class Metric(Value, frozen=True, kw_only=True):
    """What a number is. `meaning` names the two instants, or the set that is counted.

    `floor` is the smallest absolute difference of any practical interest, in the metric's unit; `precision` the half
    width of a median's interval, relative to it, that is enough to stop measuring.
    """

    name: str
    unit: Unit
    better: Better
    kind: Kind = Kind.SAMPLED
    meaning: str
    floor: float = 0.0
    precision: float = 0.02


class Sample(Value, frozen=True):
    metric: str
    value: float
    labels: dict[str, str] = {}


class Cell(Value, frozen=True, kw_only=True):
    """One combination to measure. `twin` marks the A/A copy of the reference cell (the noise floor)."""

    scenario: str
    runtime: str
    params: Params = {}
    twin: bool = False


class Step(Value, frozen=True, kw_only=True):
    """One entry of the plan. `skip` is the reason it will not run, or empty.

    `attempt` is 1 for the one repetition a tainted trial gets; in a warm-up, how often the run was resumed before it.
    """

    cell: Cell
    block: int = 0
    position: int = 0
    warmup: bool = False
    skip: str = ""
    attempt: int = 0


class Trial(Value, frozen=True, kw_only=True):
    """One step as it went. Only an `ok` trial carries samples that may enter a summary."""

    step: Step
    outcome: Outcome
    started_at: str
    elapsed_s: float
    settle_s: float = 0.0
    reason: str = ""
    samples: tuple[Sample, ...] = ()
    absent: dict[str, str] = {}
    """Metric → why this box cannot supply it."""
    taints: tuple[str, ...] = ()
    noise: dict[str, float] = {}
    """Evidence read around the trial: steal, pressure, load, canary."""


class ScenarioFacts(Value, frozen=True, kw_only=True):
    name: str
    asks: str
    metrics: tuple[Metric, ...]


class Config(Value, frozen=True, kw_only=True):
    """The resolved request: everything that decides what will run.

    `adaptive`: between 10 and `most_blocks` blocks, until every median's interval is within `precision` (None: each
    metric's own); else exactly `blocks`. A runtime called `NAME@base` is NAME as `base` (run `base_run`) had it.
    """

    suite: str
    scenarios: tuple[str, ...]
    runtimes: tuple[str, ...]
    image: str = "tiny"
    blocks: int = 20
    warmup_blocks: int = 1
    adaptive: bool = False
    most_blocks: int = 60
    precision: float | None = None
    repeat_tainted: bool = True
    budget_s: float | None = None
    trial_timeout_s: float = 120.0
    settle_s: float = 5.0
    reference: str = "native"
    cpuset: tuple[int, ...] = ()
    memory_bytes: int = 256 << 20
    grid: dict[str, dict[str, list[str]]] = {}
    """Scenario → parameter → values, overriding the scenario's own grid."""
    options: dict[str, str] = {}
    """`runtime.option` → value, handed to the runtime."""
    kernel: str = ""
    modules: str = ""
    """A guest kernel somebody named, and the folder of its modules."""
    base_run: str = ""
    base: Config | None = None


class Run(Value, frozen=True, kw_only=True, omit_defaults=False):
    """The header of a results folder: all a report needs beside the trials."""

    schema: str = SCHEMA
    id: str
    version: str
    started_at: str
    command: tuple[str, ...]
    seed: int
    host: dict[str, Any]
    config: Config
    supports: dict[str, Support]
    images: dict[str, Image]
    scenarios: tuple[ScenarioFacts, ...]
    prepared: dict[str, Prepared] = {}
    digests_inside: dict[str, str] = {}
    """Runtime → content digest the agent computed inside its box."""
    documents: dict[str, dict[str, str]] = {}
    """Runtime → name → text: domain XML, kernel command line, cgroup layout."""
    warnings: tuple[str, ...] = ()
    sessions: dict[str, int] = {}
    """Of a merged run: the runs it was made of → their first block here."""


class Results(Value, frozen=True, kw_only=True):
    """A run and its trials, as read back. `notes` says what was wrong with the file and tolerated."""

    run: Run
    trials: Sequence[Trial]
    path: str = ""
    notes: tuple[str, ...] = ()

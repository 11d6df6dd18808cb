"""Old and new in one session: a stored number is as old as the state its host was in, so the old side runs again.

The old side of a run is what that run's boxes were *given*: image, guest kernel, memory, and options of runtimes. That
can be given again, as runtimes called `NAME@base`, interleaved with the new side like any other. What did the boxing
cannot: an older Tare, engine, QEMU or host kernel is no longer there, and to say otherwise would be a lie.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness import images, kernels, log
from harness.errors import UsageError
from harness.model import Config, Image, Results, Run

BASE = "@base"


def bare(runtime: str) -> str:
    """The runtime itself, whichever side it is on."""
    return runtime.removesuffix(BASE)


def is_base(runtime: str) -> bool:
    return runtime.endswith(BASE)


def side_of(config: Config, runtime: str) -> Config:
    """What boxes of that runtime are given."""
    return config.base if is_base(runtime) and config.base is not None else config


def image_of(config: Config, home: Path) -> Image:
    """A request's image, built when it is the built-in one and missing, with the kernel that was named."""
    if config.image == "tiny" and "tiny" not in {image.name for image in images.stored(home)}:
        log.say("building image tiny")
        images.build_tiny(home)
    image = images.find(home, config.image)
    if config.kernel:
        image = msgspec.structs.replace(image, kernel=kernels.chosen(home, config.kernel, config.modules))
    return image


def with_base(config: Config, old: Results, home: Path) -> Config:
    """The request with the old side of every runtime it shares with that run; UsageError when there is none to run."""
    run = old.run
    if run.config.base is not None or run.sessions:
        raise UsageError(f"run {run.id} has two sides or several sittings", hint="name the run its new side came from")
    shared = [entry for entry in config.runtimes if any(_measured(run, name) for name in entry.split("|"))]
    if not shared:
        raise UsageError(f"run {run.id} measured none of {', '.join(config.runtimes)}", hint="tare report shows what")
    _check_image(run, home)
    if not differing(config, run, home):
        raise UsageError(
            f"nothing that run {run.id} gave its boxes differs from this request: its old side cannot be run again",
            hint="image, guest kernel, memory and options can; for what boxes them, compare the runs: tare compare",
        )
    old_options = {_base_key(key): value for key, value in run.config.options.items()}
    return msgspec.structs.replace(
        config,
        runtimes=(*config.runtimes, *("|".join(f"{name}{BASE}" for name in entry.split("|")) for entry in shared)),
        options={**config.options, **old_options},
        base_run=run.id,
        base=run.config,
    )


def _base_key(key: str) -> str:
    """`tcg.uri` → `tcg@base.uri`."""
    runtime, _, option = key.partition(".")
    return f"{runtime}{BASE}.{option}"


def differing(config: Config, run: Run, home: Path) -> list[str]:
    """What the two sides are given that is not the same."""
    old, new = run.images[run.config.image], image_of(config, home)
    kernels_ = [image.kernel.digest if image.kernel else "" for image in (old, new)]
    pairs = {
        "image": (old.digest, new.digest),
        "guest kernel": tuple(kernels_),
        "memory": (run.config.memory_bytes, config.memory_bytes),
        "options": (run.config.options, config.options),
    }
    return [what for what, (one, two) in pairs.items() if one != two]


def _measured(run: Run, name: str) -> bool:
    return name in run.prepared


def _check_image(run: Run, home: Path) -> None:
    """The old bytes themselves must still be in the store; a name that now means others will not do."""
    wanted = run.images[run.config.image]
    try:
        found = image_of(run.config, home)
    except UsageError as error:
        raise UsageError(f"the image of run {run.id} cannot be had: {error.message}", hint=error.hint) from None
    kernels_ = [image.kernel.digest if image.kernel else "" for image in (wanted, found)]
    if found.digest != wanted.digest or kernels_[0] != kernels_[1]:
        what = "image" if found.digest != wanted.digest else "guest kernel"
        raise UsageError(
            f"the {what} of run {run.id} is no longer what {run.config.image} means here",
            hint="bring the old one back under its name, or compare the runs: tare compare",
        )

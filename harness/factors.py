"""Conditions a trial can be put under on purpose, each with a step of its own that brings them about, untimed.

A factor is a parameter like any other: a suite asks for it in its grid, and it is part of the cell.

    cache = cold    clean pages of the host's page cache are dropped right before the trial: needs root, for all to feel
    cache = warm    a box of the same kind is started and ended right before the trial, so that what it reads is cached
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.model import Params

CACHE = "cache"
COLD, WARM = "cold", "warm"
FACTORS: Mapping[str, Sequence[str]] = {CACHE: (COLD, WARM)}
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_PAGE_CACHE = "1"


def check(params: Params) -> None:
    """UsageError when a factor is given a value it does not have."""
    for name, values in FACTORS.items():
        if name in params and params[name] not in values:
            raise UsageError(f"{name} cannot be {params[name]!r}", hint=f"it can be {' or '.join(values)}")


def obstacle(params: Params) -> str:
    """Why this host cannot bring about what the parameters ask for; empty when it can."""
    if params.get(CACHE) == COLD and not os.access(DROP_CACHES, os.W_OK):
        return "a cold page cache needs root: it is dropped for the whole host"
    return ""


def bring_about(params: Params, warm_up: Callable[[], None], drop_caches: Path = DROP_CACHES) -> None:
    """Puts the host into the state the parameters declare; does nothing for a cell that declares none."""
    if params.get(CACHE) == COLD:
        os.sync()  # only clean pages can be dropped
        drop_caches.write_text(_PAGE_CACHE)
    elif params.get(CACHE) == WARM:
        warm_up()

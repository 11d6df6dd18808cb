"""The one door to other programs: a list of arguments, a time limit, an error that says what was run and said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import TareError, Unsupported

_TAIL_CHARACTERS = 600


class CommandFailed(TareError):
    """A host program ended with an error or overran its time."""


def run(
    argv: Sequence[str],
    *,
    timeout_s: float = 60.0,
    hint: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Runs a host program to its end and returns its standard output.

    Unsupported when the program is not installed, CommandFailed when it fails or overruns; `hint` goes with both.
    It speaks English whatever the host's language; `env` adds to the environment.
    """
    full_env = {**os.environ, "LC_ALL": "C", **(env or {})}
    try:
        done = subprocess.run(  # no shell, ever
            argv,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=cwd,
            env=full_env,
            check=False,
            errors="replace",
        )
    except FileNotFoundError:
        raise Unsupported(f"{argv[0]} is not installed", hint=hint or f"install the package of {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{argv[0]} did not finish within {timeout_s:g} s", hint=hint) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-_TAIL_CHARACTERS:]
        raise CommandFailed(f"{' '.join(argv[:3])} failed ({done.returncode}): {said}", hint=hint)
    return done.stdout

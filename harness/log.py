"""Words for people, on stderr. Standard output belongs to results."""

from __future__ import annotations

import sys
import time


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    say(f"warning: {text}")


def now_utc() -> str:
    """The wall clock for humans and file names; never used to measure."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

"""What can go wrong, in three kinds that decide what happens next.

TareError           message: what is; hint: what to do about it
├── UsageError      the person asked for something that cannot be   → exit 2
├── Unsupported     this host or box cannot do it                   → the step is skipped, with the reason
└── TrialFailed     a box misbehaved while it was measured          → the trial is a failure, never a number
    └── TrialTimeout                                                → the same, counted apart
"""

from __future__ import annotations


class TareError(Exception):
    """An error a person can act on: shown as one line and a remedy, never as a traceback."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TareError):
    """The request itself is wrong: exit 2, nothing was started."""


class Unsupported(TareError):
    """This host or this box lacks what was asked: becomes a skipped step."""


class TrialFailed(TareError):
    """A box did not do its part: becomes a failed trial. `log` is the tail of what the box printed."""

    def __init__(self, message: str, *, hint: str = "", log: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log


class TrialTimeout(TrialFailed):
    """A box did not do its part in time."""

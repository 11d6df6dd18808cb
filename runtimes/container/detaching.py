"""A command that leaves a process behind: its child goes on alone once it has said that all is well.

The child is forked before anything is started, so what it starts is its own; the parent waits for its word.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from harness.errors import TareError
from runtimes.container.owner import Reply

_WORD_BYTES = 1 << 16


def detach(work: Callable[[Callable[[], None]], object], log: Path) -> Reply:
    """Runs `work(started)` in a process left behind; returns when it has called `started`, or why it never will."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        os.close(ours)
        _live_on(work, theirs, log)
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        word = said.read(_WORD_BYTES)
    if not word:
        return Reply(error="the box's owner ended before its box had started", hint=f"see {log}")
    return msgspec.json.decode(word, type=Reply)


def _live_on(work: Callable[[Callable[[], None]], object], theirs: int, log: Path) -> NoReturn:
    """A session of its own and no stream of whoever called; its own faults go to the log, and to the parent."""
    os.setsid()
    nothing, errors = os.open(os.devnull, os.O_RDWR), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in enumerate((nothing, errors, errors)):
        os.dup2(source, target)
    for descriptor in (nothing, errors):
        os.close(descriptor)
    code = 1
    try:
        work(lambda: _say(theirs, Reply()))
        code = 0
    except TareError as error:
        _say(theirs, Reply.of(error))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _say(theirs: int, reply: Reply) -> None:
    """Once: later there is nobody who listens."""
    os.write(theirs, msgspec.json.encode(reply))
    os.close(theirs)

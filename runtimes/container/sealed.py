"""A copy of the Python interpreter that nobody can change, as a file in memory.

A box's first program may be named `/proc/self/exe`: then the zygote's child executes the interpreter again, inside the
box, where the box's own loader and libraries run it, and can open what they run for writing. The zygote is therefore
executed from a sealed copy: what leads back to the host's interpreter is only a file that cannot be written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MFD_EXEC = 0x10
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@contextmanager
def interpreter() -> Iterator[str]:
    """A path that executes the copy, as long as the block runs. The name to give it as argv[0] is the original's."""
    copy = _memfd()
    try:
        with Path(sys.executable).open("rb") as original:
            size = os.fstat(original.fileno()).st_size
            while size > 0:
                size -= os.sendfile(copy, original.fileno(), None, size)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        readable = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(copy)  # what is open for writing cannot be executed
    try:
        yield f"/proc/self/fd/{readable}"
    finally:
        os.close(readable)


def _memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("tare-zygote", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create("tare-zygote", flags)  # before Linux 6.3 every such file can be executed

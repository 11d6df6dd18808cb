"""Running a program as somebody who may do nothing, whatever this checkout and its interpreter lie below.

Homes are often closed to others. In a mount namespace of the program's own, what closes the way is covered by an
empty folder in which the needed ones, and nothing else, are found at their usual paths.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

UID = 65534
_OTHERS_PASS = 0o001


def argv(command: Sequence[str], needed: Sequence[Path]) -> list[str]:
    """The command as that user, with no capability and no way to gain one, where the needed folders are to be seen."""
    covers = {cover for path in needed for cover in _closed(path)}
    steps = ["set -e", "mount --make-rprivate /", "mount -t tmpfs tmpfs /mnt"]
    for number, path in enumerate(needed):
        steps += [f"mkdir /mnt/{number}", f"mount --bind {_quoted(path)} /mnt/{number}"]
    steps += [f"mount -t tmpfs -o mode=755 tmpfs {_quoted(cover)}" for cover in sorted(covers)]
    for number, path in enumerate(needed):
        steps += [f"mkdir -p {_quoted(path)}", f"mount --bind /mnt/{number} {_quoted(path)}"]
    steps.append(f'exec setpriv --reuid={UID} --regid={UID} --clear-groups --inh-caps=-all --no-new-privs "$@"')
    return ["unshare", "--mount", "sh", "-c", "\n".join(steps), "unprivileged", *command]


def _closed(path: Path) -> Iterator[Path]:
    """The highest folder above that others may not pass."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & _OTHERS_PASS:
            yield folder
            return


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))

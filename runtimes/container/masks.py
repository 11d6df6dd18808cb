"""What a box may not see, and what it may see but not change, in /proc and /sys.

The lists are what Docker's and Podman's boxes hide: memory images, keys, timers, hardware descriptions, power readings
that tell what a neighbour computes. Names that this kernel has not got are passed over.

What covers them is the box's own: a folder is covered by the mount point for cgroups in the box's read-only sysfs,
which the kernel keeps empty for ever, a file by the box's own /dev/null, which rootfs.py made a moment ago. No path of
the image and no device of the host is involved, and no further file system has to be made and taken down per box.
Paths are safe here: /proc and /sys are folders, not links, of a root in which nothing runs yet, with mounts of ours.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from runtimes.container import syscalls as sys_
from runtimes.container.calls import AT_FDCWD, BUFFER, PATH, PATH_BYTES, RESULT, Calls

_EMPTY_FOLDER = "/sys/fs/cgroup"
_NOTHING = "/dev/null"
_NULL_DEVICE = (1, 3)
FOLDERS = ("/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap")
FILES = (
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
)
UNCHANGEABLE = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_STATX_TYPE = 1
_AT_SYMLINK_NOFOLLOW = 0x100
_NO_ENTRIES_BYTES = 48
"""What the kernel tells of a folder in which nothing is: `.` and `..`, of 24 bytes each."""

_FLAGS = sys_.MS_RDONLY | sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC


def cover(calls: Calls) -> None:
    """To be called when /proc, /sys and /dev are mounted, and before /sys/fs/cgroup has anything in it."""
    _check_covers(calls)
    for covers, targets in ((_EMPTY_FOLDER, FOLDERS), (_NOTHING, FILES)):
        for target in targets:
            _bind_if_there(calls, covers, target)


def protect(calls: Calls) -> None:
    """To be called after the last change below /proc/sys."""
    for target in UNCHANGEABLE:
        _bind_if_there(calls, target, target, skip=1)
        calls.call("mount", 0, target.encode(), 0, sys_.MS_REMOUNT | sys_.MS_BIND | _FLAGS, 0, doing=target)


def _bind_if_there(calls: Calls, source: str, target: str, skip: int = 0) -> None:
    """Passes over the next `skip` calls when there is no target."""
    arguments = (source.encode(), target.encode(), 0, sys_.MS_BIND, 0)
    calls.call("mount", *arguments, expected=errno.ENOENT, skip=skip, doing=target)


def _check_covers(calls: Calls) -> None:
    """A mask that is not what it seems would show everything, or be a way in."""
    require_device(calls, AT_FDCWD, _NOTHING.encode(), _NULL_DEVICE, at_flags=_AT_SYMLINK_NOFOLLOW)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    calls.call("openat", AT_FDCWD, _EMPTY_FOLDER.encode(), flags, store=RESULT)
    calls.call("getdents64", 0, PATH, PATH_BYTES, on=RESULT, store=RESULT)
    calls.compare(RESULT, -1, _NO_ENTRIES_BYTES, errno.ENOTEMPTY, doing=_EMPTY_FOLDER)


def require_device(calls: Calls, folder: int, name: bytes, device: tuple[int, int], at_flags: int, on: int = 0) -> None:
    """Goes on if that is that character device. `name` is below the descriptor, which may be in a place of the area."""
    doing = f"{name.decode()} is not the device {device[0]}:{device[1]}"
    calls.call("statx", folder, name, at_flags, _STATX_TYPE, BUFFER, on=on, doing=name.decode())
    for at, fields, values, mask in (
        (24, "=IHH", (0, stat.S_IFCHR, 0), (0, 0xF000, 0)),  # owner's group, mode, nothing
        (128, "=II", device, (0xFFFF_FFFF, 0xFFFF_FFFF)),
    ):
        wanted, looked_at = (struct.unpack("=q", struct.pack(fields, *words))[0] for words in (values, mask))
        calls.compare(BUFFER + at, looked_at, wanted, errno.ENODEV, doing=doing)

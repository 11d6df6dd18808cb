"""What a box may not see, and what it may see but not change, in /proc and /sys.

The lists are what Docker's and Podman's boxes hide: memory images, keys, timers, hardware descriptions, power readings
that tell what a neighbour computes. Names that this kernel has not got are passed over.

What covers them is the box's own: a folder is covered by the mount point for cgroups in the box's read-only sysfs,
which the kernel keeps empty for ever, a file by the box's own /dev/null, which rootfs.py made a moment ago. No path of
the image and no device of the host is involved, and no further file system has to be made and taken down per box.
Paths are safe here: /proc and /sys are folders, not links, of a root in which nothing runs yet, with mounts of ours.
"""

from __future__ import annotations

import os
import stat

from runtimes.container import syscalls as sys_

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
_FLAGS = sys_.MS_RDONLY | sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC


def cover() -> None:
    """To be called when /proc, /sys and /dev are mounted, and before /sys/fs/cgroup has anything in it."""
    _check_covers()
    for covers, targets in ((_EMPTY_FOLDER, FOLDERS), (_NOTHING, FILES)):
        for target in targets:
            sys_.bind_if_there(covers, target)


def protect() -> None:
    """To be called after the last change below /proc/sys."""
    for target in UNCHANGEABLE:
        if sys_.bind_if_there(target, target):
            sys_.remount(target, _FLAGS)


def _check_covers() -> None:
    """A mask that is not what it seems would show everything, or be a way in."""
    status = os.stat(_NOTHING, follow_symlinks=False)  # noqa: PTH116 (pathlib is not loaded here)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(*_NULL_DEVICE):
        raise OSError(0, f"{_NOTHING} is not the null device")
    if os.listdir(_EMPTY_FOLDER):  # noqa: PTH208 (as above)
        raise OSError(0, f"{_EMPTY_FOLDER} is not empty")

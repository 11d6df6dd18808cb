"""The container's file system, made from the inside: its own root first, then everything else within that root.

The order is the safety: nothing is mounted by a path of the image before `pivot_root`, so a link in the image that
points at `/` or climbs with `..` can only ever reach the image. Needs Linux 5.2 for the mount API that works on
descriptors; `clone3` is younger, so there is no second path for older kernels.

The overlay is an ordinary one, not `volatile`: fsync inside the box must do what it does elsewhere, else the box would
look faster at I/O than it is. The price is that the kernel syncs the upper file system when the box ends.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from runtimes.container import syscalls as sys_
from runtimes.container.calls import (
    AT_FDCWD,
    BUFFER,
    DEV,
    MOUNT,
    MOVE_MOUNT_F_EMPTY_PATH,
    PTS,
    SHM,
    Calls,
    Place,
    encoded,
)
from runtimes.container.plan import Plan

_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_QUIET = sys_.MOUNT_ATTR_NOSUID | sys_.MOUNT_ATTR_NODEV | sys_.MOUNT_ATTR_NOEXEC
_PROGRAMLESS = sys_.MOUNT_ATTR_NOSUID | sys_.MOUNT_ATTR_NOEXEC
_PTS_OPTIONS = (  # 5 is the group tty nearly everywhere
    ("source", "devpts"),
    ("ptmxmode", "0666"),
    ("mode", "0620"),
    ("gid", "5"),
)
_STATFS_FLAGS = 80
_SHM_OPTIONS = (("source", "tmpfs"), ("mode", "1777"), ("size", "64m"))


class Given(NamedTuple):
    """Something of the host's for the box: a mount that is nowhere yet, and where it is to be."""

    mount: int
    target: str
    is_folder: bool


def take_mounts(plan: Plan) -> list[Given]:
    """What the box was given of the host's files, by the zygote, whose paths are the host's."""
    given: list[Given] = []
    try:
        for source, target, read_only in plan.mounts:
            mount = sys_.clone_tree(source)
            given.append(Given(mount, target, stat.S_ISDIR(os.fstat(mount).st_mode)))
            if read_only:
                sys_.make_read_only(mount)
    except BaseException:
        discard_mounts(given)
        raise
    return given


def discard_mounts(given: list[Given]) -> None:
    for mount, _, _ in given:
        os.close(mount)


def place_mounts(calls: Calls, given: list[Given]) -> None:
    """From within the box's own root: wherever a link in the image leads, it leads to within it."""
    for mount, target, is_folder in given:
        parts = target.strip("/").split("/")
        for count in range(1, len(parts) + is_folder):
            path = "/" + "/".join(parts[:count])
            calls.call("mkdirat", AT_FDCWD, encoded(path), 0o755, expected=errno.EEXIST, doing=path)
        if not is_folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            calls.call("openat", AT_FDCWD, encoded(target), flags, 0o644, doing=target)
        calls.call("move_mount", mount, b"", AT_FDCWD, encoded(target), MOVE_MOUNT_F_EMPTY_PATH, doing=target)


def mount_root(calls: Calls, plan: Plan) -> None:
    """The image's tree below, the box's own folder on top; devices come from our /dev alone."""
    options = (("source", "overlay"), ("lowerdir", plan.lower), ("upperdir", plan.upper), ("workdir", plan.work))
    calls.new_filesystem("overlay", options, sys_.MOUNT_ATTR_NODEV)
    calls.call("fstatfs", 0, BUFFER, on=MOUNT)
    # Read-only is the kernel's answer to a full disk, and never what was asked for.
    said = "overlay: there is no room for its working folder"
    calls.compare(BUFFER + _STATFS_FLAGS, os.ST_RDONLY, 0, errno.EROFS, doing=said)
    calls.move_mount(plan.folder)


def enter_root(calls: Calls, plan: Plan) -> None:
    """The old root ends up mounted over the new one, where unmounting it needs no folder in the image."""
    calls.call("chdir", os.fsencode(plan.folder))
    calls.call("pivot_root", b".", b".")
    calls.call("umount2", b".", sys_.MNT_DETACH)
    calls.call("chdir", b"/")


def mount_kernel_views(calls: Calls) -> None:
    """/proc of the new pid namespace, /sys of the new network namespace, the latter read-only."""
    for kind, attributes in (("proc", _QUIET), ("sysfs", _QUIET | sys_.MOUNT_ATTR_RDONLY)):
        calls.new_filesystem(kind, (("source", kind),), attributes)
        _place(calls, MOUNT, "/proc" if kind == "proc" else "/sys")


class Devices(NamedTuple):
    """The mounts of a box's /dev, /dev/pts and /dev/shm, as descriptors: nowhere yet, and nobody's."""

    dev: int
    pts: int
    shm: int


def make_devices() -> Devices:
    """A /dev of a box's own, filled through the descriptor of its mount, never through a path of the image.

    Made by the zygote: it depends on nothing of the box, and here no page has to be copied for it. Expects umask 0.
    """
    options = (("source", "tmpfs"), ("mode", "0755"), ("size", "64k"))
    made = [sys_.new_filesystem("tmpfs", options, _PROGRAMLESS)]
    try:
        for name, major, minor in _DEVICES:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=made[0])
        for name, target in _LINKS:
            os.symlink(target, name, dir_fd=made[0])
        for name in ("pts", "shm"):
            os.mkdir(name, 0o755, dir_fd=made[0])
        made.append(sys_.new_filesystem("devpts", _PTS_OPTIONS, _PROGRAMLESS))
        made.append(sys_.new_filesystem("tmpfs", _SHM_OPTIONS, _QUIET))
    except BaseException:
        for mount in made:
            os.close(mount)
        raise
    return Devices(*made)


def place_devices(calls: Calls) -> None:
    """What is at DEV, PTS and SHM. The descriptors go when the program is executed."""
    _place(calls, DEV, "/dev")
    for mount, name in ((PTS, "/dev/pts"), (SHM, "/dev/shm")):
        calls.move_mount(name, mount=mount)


def mount_cgroup_view(calls: Calls) -> None:
    """Its own v2 cgroup as the root, read-only. Asked for from its own cgroup namespace, else it is the host's."""
    calls.new_filesystem("cgroup2", (), _QUIET | sys_.MOUNT_ATTR_RDONLY)
    calls.move_mount("/sys/fs/cgroup")


def protect_root(calls: Calls) -> None:
    """The overlay turns read-only; what is mounted on it stays as it is, so /dev/shm is still there to write to."""
    flags = sys_.MS_REMOUNT | sys_.MS_BIND | sys_.MS_RDONLY | sys_.MS_NODEV
    calls.call("mount", 0, b"/", 0, flags, 0)


def make_tmp(calls: Calls) -> None:
    """/tmp is the image's own, on the overlay; an image without one gets it, since every program expects it."""
    calls.call("mkdirat", AT_FDCWD, b"/tmp", 0o1777, expected=errno.EEXIST)


def _place(calls: Calls, mount: Place, path: str) -> None:
    """Mounts on a folder of the image, which a minimal image may lack."""
    calls.move_mount(path, mount=mount, expected=errno.ENOENT, skip=1)
    calls.skip(2)
    calls.call("mkdirat", AT_FDCWD, encoded(path), 0o755, doing=path)
    calls.move_mount(path, mount=mount)

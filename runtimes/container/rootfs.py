"""The container's file system, made from the inside: its own root first, then everything else within that root.

The order is the safety: nothing is mounted by a path of the image before `pivot_root`, so a link in the image that
points at `/` or climbs with `..` can only ever reach the image. Needs Linux 5.2 for the mount API that works on
descriptors; `clone3` is younger, so there is no second path for older kernels.

The overlay is an ordinary one, not `volatile`: fsync inside the box must do what it does elsewhere, else the box would
look faster at I/O than it is. The price is that the kernel syncs the upper file system when the box ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import NamedTuple

from runtimes.container import syscalls as sys_
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
_SHM_OPTIONS = (("source", "tmpfs"), ("mode", "1777"), ("size", "64m"))


def take_mounts(plan: Plan) -> list[int]:
    """What the box was given of the host's files, while the host's paths still lead there."""
    return [sys_.clone_tree(source) for source, _, _ in plan.mounts]


def place_mounts(plan: Plan, mounts: list[int]) -> None:
    """From within the box's own root: wherever a link in the image leads, it leads to within it."""
    for (_, target, read_only), mount in zip(plan.mounts, mounts, strict=True):
        if read_only:
            sys_.make_read_only(mount)
        _make_target(target, is_folder=stat.S_ISDIR(os.fstat(mount).st_mode))
        sys_.move_mount(mount, target)
        os.close(mount)


def _make_target(target: str, *, is_folder: bool) -> None:
    """Missing folders on the way, and at its end what can be mounted on."""
    parts = target.strip("/").split("/")
    for count in range(1, len(parts) + is_folder):
        with contextlib.suppress(FileExistsError):
            os.mkdir("/" + "/".join(parts[:count]), 0o755)  # noqa: PTH102 (pathlib is not loaded here)
    if not is_folder:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))


def mount_root(plan: Plan) -> None:
    """The image's tree below, the box's own folder on top; devices come from our /dev alone."""
    options = (("source", "overlay"), ("lowerdir", plan.lower), ("upperdir", plan.upper), ("workdir", plan.work))
    root = sys_.new_filesystem("overlay", options, sys_.MOUNT_ATTR_NODEV)
    if os.fstatvfs(root).f_flag & os.ST_RDONLY:  # the kernel's answer to a full disk, and never what was asked for
        raise OSError(errno.EROFS, "overlay: there is no room for its working folder")
    sys_.move_mount(root, plan.folder)
    os.close(root)


def enter_root(plan: Plan) -> None:
    """The old root ends up mounted over the new one, where unmounting it needs no folder in the image."""
    os.chdir(plan.folder)
    sys_.pivot_root(".", ".")
    sys_.umount2(".", sys_.MNT_DETACH)
    os.chdir("/")


def mount_kernel_views() -> None:
    """/proc of the new pid namespace, /sys of the new network namespace, the latter read-only."""
    for kind, attributes in (("proc", _QUIET), ("sysfs", _QUIET | sys_.MOUNT_ATTR_RDONLY)):
        mount = sys_.new_filesystem(kind, (("source", kind),), attributes)
        _place(mount, "/proc" if kind == "proc" else "/sys")
        os.close(mount)


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


def place_devices(devices: Devices) -> None:
    """The descriptors go when the program is executed."""
    _place(devices.dev, "/dev")
    sys_.move_mount(devices.pts, "pts", below=devices.dev)
    sys_.move_mount(devices.shm, "shm", below=devices.dev)


def mount_cgroup_view() -> None:
    """Its own v2 cgroup as the root, read-only. Asked for from its own cgroup namespace, else it is the host's."""
    view = sys_.new_filesystem("cgroup2", (), _QUIET | sys_.MOUNT_ATTR_RDONLY)
    sys_.move_mount(view, "/sys/fs/cgroup")
    os.close(view)


def protect_root() -> None:
    """The overlay turns read-only; what is mounted on it stays as it is, so /dev/shm is still there to write to."""
    sys_.remount("/", sys_.MS_RDONLY | sys_.MS_NODEV)


def make_tmp() -> None:
    """/tmp is the image's own, on the overlay; an image without one gets it, since every program expects it."""
    try:
        os.mkdir("/tmp", 0o1777)  # noqa: PTH102 (pathlib is not loaded here)
    except FileExistsError:
        return


def _place(mount: int, path: str) -> None:
    """Mounts on a folder of the image, which a minimal image may lack."""
    try:
        sys_.move_mount(mount, path)
    except FileNotFoundError:
        os.mkdir(path, 0o755)  # noqa: PTH102 (as above)
        sys_.move_mount(mount, path)

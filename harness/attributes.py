"""What an image may say about a file beyond its content, and which devices it may name.

Kept: `user.*` attributes, and file capabilities when we are root. Left out and counted: attributes that belong to the
host that packed the image (SELinux, IMA, ACLs), and the devices of an ordinary /dev, for every box gets a /dev of its
own. Refused: every other device, and attributes that steer an overlay, for runtimes mount the tree as one.
"""

from __future__ import annotations

import os
from collections import Counter

from harness.errors import UsageError
from harness.tarstream import Kind, Member, refused

_CAPABILITIES = b"security.capability"
_STEERING = (b"trusted.", b"user.overlay.")
_XATTR_BYTES = 64 << 10
# null, zero, full, random, urandom, kmsg; tty, console, ptmx
_ORDINARY_DEVICES = frozenset({*((1, minor) for minor in (3, 5, 7, 8, 9, 11)), (5, 0), (5, 1), (5, 2)})


def check_device(member: Member) -> None:
    """UsageError for a device that is not part of an ordinary /dev."""
    if member.kind is not Kind.CHARACTER or member.device not in _ORDINARY_DEVICES:
        major, minor = member.device
        raise UsageError(
            f"holds the {member.kind.value} {member.shown} ({major}:{minor})",
            hint="no box gets devices from an image: make the image again without it",
        )


def set_xattrs(fd: int, member: Member, left_out: Counter[str]) -> None:
    """Gives an open file or folder the attributes it may have."""
    for name, value in member.xattrs.items():
        shown = os.fsdecode(name)
        if name.startswith(_STEERING) or b"\0" in name or len(value) > _XATTR_BYTES:
            raise refused(f"gives {member.shown} the attribute {shown[:100]!r}, which no image may")
        if not name.startswith(b"user.") and not (name == _CAPABILITIES and os.geteuid() == 0):
            left_out[f"{shown[:100]} attribute"] += 1
            continue
        try:
            os.setxattr(fd, name, value)
        except OSError as error:  # the kernel reports one that is too large like a full disk
            raise UsageError(
                f"has an attribute {shown[:100]!r} of {member.shown} that cannot be kept ({error.strerror})",
                hint="point TARE_HOME at a file system with extended attributes, as ext4 has",
            ) from None

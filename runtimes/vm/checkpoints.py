"""A box on disk: the state libvirt saved, and the box's own writes.

libvirt brings a state back only as the very domain it was, by name and identity. Both stand in the text at the head of
its file, so that text is replaced by the new box's before each return: any number of boxes can go on from one state,
each under a name of its own.

    magic · version · length of text and padding · was running · compression · where the cookie begins · 14 unused
    domain XML, NUL · libvirt's cookie, NUL · padding · QEMU's stream
"""

from __future__ import annotations

import errno
import shutil
import struct
from contextlib import AbstractContextManager
from pathlib import Path

from harness import agent, paths
from harness.errors import TrialFailed, UsageError
from harness.model import Image

STATE = "state"
_DISK = "disk.qcow2"
_LAY_ON = "image"
_LOCK = "lock"
_ANSWERS = "hello)"
"""What an agent's text holds that speaks again when hailed."""
_HEAD = struct.Struct("=16s5I56x")
_MAGIC, _VERSION = b"LibvirtQemudSave", 2


def complete(folder: Path, overlay: Path, image_disk: Path) -> None:
    """Adds the box's writes to a saved state. They come last, and whole: where they are, all is there."""
    (folder / _LAY_ON).write_text(str(image_disk))
    draft = folder / f"{_DISK}.draft"
    try:
        shutil.copyfile(overlay, draft)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise paths.disk_full(folder) from None
        raise
    draft.rename(folder / _DISK)


def check(folder: Path, image: Image, image_disk: Path) -> Path:
    """The state in the folder; UsageError when it was never completed, nobody in the box would answer, or the box lay
    on another disk than it would now: memory would go on with files that are not there."""
    if _ANSWERS not in Path(image.root, agent.AGENT.lstrip("/")).read_text():
        raise UsageError(f"the agent in the image {image.name} is too old to be brought back", hint="make it anew")
    if not (folder / _DISK).exists():
        raise UsageError(f"{folder} holds no finished checkpoint", hint="make a new one")
    if (lay_on := (folder / _LAY_ON).read_text()) != str(image_disk):
        raise UsageError(
            f"the box in {folder} lay on the disk {lay_on}, not on {image_disk}",
            hint="restore it with the image, the runtime and the option disk it was started with",
        )
    return folder / STATE


def bring_disk(folder: Path, overlay: Path) -> None:
    """The restored box writes to a copy, so that the checkpoint stays as it is."""
    shutil.copyfile(folder / _DISK, overlay)


def being_read(state: Path) -> AbstractContextManager[bool]:
    """Held while a box is brought back: the head of the file is its own until then."""
    return paths.locked(state.with_name(_LOCK))


def rename(state: Path, xml: str) -> None:
    """Makes it the state of the domain that `xml` describes."""
    with state.open("r+b") as file:
        magic, version, length, running, compressed, cookie_at = _HEAD.unpack(file.read(_HEAD.size))
        if (magic, version) != (_MAGIC, _VERSION):
            raise TrialFailed(f"{state} is not a state in the form of libvirt's that is known here")
        cookie = file.read(length)[cookie_at:].rstrip(b"\0") if cookie_at else b""
        text = xml.encode() + b"\0"
        body = text + (cookie + b"\0" if cookie else b"")
        if len(body) > length:
            raise TrialFailed(f"{state} has no room for the description of another box")
        head = _HEAD.pack(magic, version, length, running, compressed, len(text) if cookie else 0)
        file.seek(0)
        file.write(head + body.ljust(length, b"\0"))

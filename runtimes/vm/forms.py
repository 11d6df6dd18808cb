"""The forms an image's files come in as a disk, for those who ask what each weighs and costs.

ext4    a raw sparse file: the usual one
qcow2   the same disk as distributions ship theirs: in compressed clusters, which QEMU unpacks
erofs   a read-only file system made for images, compressed, on a disk that all boxes share; the guest unpacks it. What
        the box writes goes to an overlay file system, whose upper side is an empty ext4 on the box's own disk: in the
        guest's memory it would be charged as memory.

All hold the same files, with owners, and times to the second. An erofs is not the same bytes each time: it says when it
was made.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness import paths, proc
from harness.errors import UsageError
from harness.model import Artifact, Image, Role
from runtimes.vm import disk
from runtimes.vm.disk import Backing
from runtimes.vm.profiles import Profile

_UUID = "74617265-0000-4000-8000-000000000005"
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """`format`: QEMU's word for it. `layered`: it stays read-only, below what the box writes on a disk of its own.

    `modules` and `words` are what a guest needs to put the two together.
    """

    name: str
    format: str = "raw"
    layered: bool = False
    modules: tuple[str, ...] = ()
    words: str = ""


EXT4 = Form(name="ext4")
QCOW2 = Form(name="qcow2", format="qcow2")
EROFS = Form(name="erofs", layered=True, modules=("erofs", "overlay"), words="tare_lower=/dev/vdb")
FORMS = (EXT4, QCOW2, EROFS)


def chosen(name: str, profile: Profile) -> Form:
    """The form of that name; UsageError for one that is not there, or not with this kind of machine."""
    usable = [form for form in FORMS if not (form.layered and profile.from_disk)]
    for form in usable:
        if form.name == name:
            return form
    why = ": its boot loader's disk holds an ext4" if name in [form.name for form in FORMS] else ""
    raise UsageError(
        f"a virtual machine of kind {profile.name} has no disk of form {name!r}{why}",
        hint=f"choose of {', '.join(form.name for form in usable)}",
    )


def root(store: Path, image: Image, form: Form) -> Artifact:
    """The image's files in that form, made on first use."""
    return _erofs(store, image) if form is EROFS else packed(disk.base(store, image), form)


def packed(raw: Path, form: Form) -> Artifact:
    """A raw disk in the form that is wanted."""
    size_bytes = raw.stat().st_size
    if form is not QCOW2:
        return Artifact(role=Role.ROOT, path=str(raw), virtual_bytes=size_bytes)
    folder = raw.parent.with_name(f"{raw.parent.name}-qcow2")
    target = folder / "disk.qcow2"
    if not target.exists():
        with paths.whole_or_nothing(folder) as draft:
            argv = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(draft / target.name)]
            with disk.naming_a_full(folder.parent):
                proc.run(argv, timeout_s=_TIMEOUT_S, hint="apt-get install qemu-utils")
    return Artifact(role=Role.ROOT, path=str(target), virtual_bytes=size_bytes)


def _erofs(store: Path, image: Image) -> Artifact:
    _empty(store)  # now, not when a box is waited for
    folder = store / "vm" / "disks" / f"{image.digest.replace(':', '-')}-erofs"
    target = folder / "disk.erofs"
    if not target.exists():
        with paths.whole_or_nothing(folder) as draft, disk.naming_a_full(folder.parent):
            argv = ["mkfs.erofs", "--quiet", "-zlz4hc", "-U", _UUID, str(draft / target.name), image.root]
            proc.run(argv, timeout_s=_TIMEOUT_S, hint="apt-get install erofs-utils")
    return Artifact(role=Role.ROOT, path=str(target), virtual_bytes=target.stat().st_size)


def below(store: Path, form: Form, made: Artifact) -> Backing:
    """What the box's own disk lies on: the image, or nothing but two folders."""
    if form.layered:
        empty = _empty(store)
        return Backing(empty, "raw", empty.stat().st_size)
    return Backing(Path(made.path), form.format, made.virtual_bytes or 0)


def _empty(store: Path) -> Path:
    """An ext4 of the size that others have free, with the two folders an overlay file system wants."""
    folder = store / "vm" / "disks" / "empty"
    target = folder / "disk.ext4"
    if not target.exists():
        with paths.whole_or_nothing(folder) as draft, tempfile.TemporaryDirectory(dir=draft) as tree:
            for name in ("files", "work"):
                Path(tree, name).mkdir()
                Path(tree, name).chmod(0o755)  # the first becomes the box's root, whatever our umask is
            with (draft / target.name).open("wb") as file:
                file.truncate(disk.HEADROOM_BYTES)
            disk.fill_ext4(Path(tree), draft / target.name, disk.HEADROOM_BYTES)
    return target

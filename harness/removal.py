"""Taking an image out of the store: its name, then whatever no other image shares.

Nothing is taken from a box that runs on it: that would change under it. What runtimes have made of the image for
themselves (disks, initrds) is theirs.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR

from harness import images, oci
from harness.errors import UsageError

_ESCAPED = re.compile(r"\\([0-7]{3})")
"""As the kernel shows a character that would end a field."""


def remove(home: Path, name: str) -> int:
    """Bytes freed on the disk; UsageError when a box runs on the image, or there is none."""
    image = images.find(home, name)
    layout = oci.Layout(home / "images")
    with images.changing(home):
        others = [descriptor for other, descriptor in layout.names().items() if other != name]
        unshared = _unshared(home, layout, others)
        if Path(image.root) in unshared and (pid := _user_of(Path(image.root))):
            raise UsageError(f"process {pid} runs on image {name}", hint="end its box first: tare box ps, tare sweep")
        with layout.renaming() as names:
            names.pop(name, None)
        # What a name has moved on from may still be somebody's root; it goes another time.
        return sum(_removed(path) for path in unshared if not (path.is_dir() and _user_of(path)))


def _unshared(home: Path, layout: oci.Layout, others: Iterable[oci.Descriptor]) -> list[Path]:
    """Blobs and trees that no image needs, whoever left them."""
    kept = {path for one in others for path in (images.tree_of(home, one), *_blobs(layout, one))}
    stored = [*(layout.root / "blobs" / "sha256").iterdir(), *(home / "trees").iterdir()]
    return [path for path in stored if path not in kept]


def _blobs(layout: oci.Layout, descriptor: oci.Descriptor) -> Iterator[Path]:
    manifest = layout.manifest(descriptor)
    for one in (descriptor, manifest.config, *manifest.layers):
        yield layout.blob(one.digest)


def _removed(path: Path) -> int:
    freed_bytes = sum(map(_share_bytes, [path, *path.rglob("*")]))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return freed_bytes


def _share_bytes(path: Path) -> int:
    """What it occupies; a file of several names is counted in parts."""
    state = path.lstat()
    return state.st_blocks * 512 // (1 if S_ISDIR(state.st_mode) else state.st_nlink)


def _user_of(tree: Path) -> int | None:
    """A process whose root this tree is, or lies on top of it."""
    processes = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return next((int(entry.name) for entry in processes if _is_on(entry, tree)), None)


def _is_on(folder: Path, tree: Path) -> bool:
    try:
        if os.path.samestat((folder / "root").stat(), tree.stat()):
            return True
        mounts = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), (folder / "mountinfo").read_text())
        return str(tree) in mounts or str(tree.resolve()) in mounts
    except OSError:  # it has ended, or is not ours to look at
        return False

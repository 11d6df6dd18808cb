"""Bringing an image from elsewhere into the store: checked, unpacked by our own applier, given the agent, whole or not.

Layers are stored as they are, byte for byte; the agent's layer comes last. Only a root file system packed with xz is
packed again, since no layer may be. Everything happens in a folder of its own inside the store and is moved to its
place when nothing can be wrong any more; what a killed import left there, the next one removes. The same source gives
the same digest.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness import agent, images, manifests, oci, paths, sources
from harness.errors import UsageError
from harness.layers import Tree
from harness.model import Image
from harness.packed import Budget, Limits, Unpacked
from harness.shelf import Source, SourceLayer
from harness.tarstream import Kind, Member, TarStream, refused

_WORKSHOP = ".import"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_LAYER_TYPES = {
    "": "application/vnd.oci.image.layer.v1.tar",
    "gzip": oci.LAYER_TYPE,
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
_COPY_BYTES = 1 << 20
_PACK_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Imported:
    """An image that is now in the store, and what of the source is not in it."""

    image: Image
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer that was checked and unpacked; `blob` is its file in the workshop."""

    descriptor: oci.Descriptor
    diff_id: str
    blob: Path


def import_image(home: Path, source: str, name: str = "", *, shown: str = "", limits: Limits | None = None) -> Imported:
    """The image of SOURCE, unpacked in the store under that name (by default the source's own).

    `shown` is what errors call the source, when it is not what the person named.
    """
    name = checked_name(name or default_name(source))
    limits = limits or Limits()
    with _workshop(home) as work, _about(shown or source), sources.opened(source, work, limits) as found:
        return _bring(home, found, name, work, limits)


def default_name(source: str) -> str:
    """The last part of the path without the endings of archives; what a tag says is part of it, but for `latest`."""
    last = source.rstrip("/").rpartition("/")[2].removesuffix(":latest")
    stem = re.sub(r"(\.oci|\.docker)?\.(tar|tgz|txz|tzst)(\.(gz|xz|zst))?(?=:|$)", "", last)
    return re.sub(r"[^A-Za-z0-9._:-]", "-", stem).strip("-._:")


def checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of an image", hint="name it: --name NAME (letters, digits, .-_:)"
        )
    return name


@contextmanager
def _workshop(home: Path) -> Iterator[Path]:
    """A folder of the store for one import at a time, gone afterwards. Trees hold setuid programs: root's eyes only."""
    trees = home / "trees"
    trees.mkdir(parents=True, exist_ok=True)
    trees.chmod(0o700)
    work = trees / _WORKSHOP
    with images.changing(home):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise paths.disk_full(home) from None
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _about(source: str) -> Iterator[None]:
    """Every error says which source it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"cannot import {source}: {error.message}", hint=error.hint) from None


def _bring(home: Path, source: Source, name: str, work: Path, limits: Limits) -> Imported:
    root = work / "tree"
    (work / "blobs").mkdir()
    root.mkdir()
    with Tree(root, limits) as tree:
        budget = Budget(limits)
        layers = [_layer(tree, one, number, work, budget) for number, one in enumerate(source.layers, 1)]
        last, content = _add_agent(tree, work)
        tree.finish()
    image = _keep(home, name, source.config, [*layers, last], content, root)
    return Imported(image, tuple(f"{count} × {what}" for what, count in sorted(tree.left_out.items())))


def _layer(tree: Tree, layer: SourceLayer, number: int, work: Path, budget: Budget) -> _Layer:
    """Takes one layer in: the blob is copied and checked first, and only that copy is then unpacked."""
    try:
        blob = work / "blobs" / str(number)
        digest = _copy(layer, blob)
        diff_id = _unpack(tree, layer, blob, budget)
        compression = layer.compression
        if compression == "xz":
            compression, digest = "gzip", _pack_again(blob, budget.limits)
        media_type = _LAYER_TYPES[compression]
        return _Layer(oci.Descriptor(media_type=media_type, digest=digest, size=blob.stat().st_size), diff_id, blob)
    except UsageError as error:
        raise UsageError(f"layer {number} {error.message}", hint=error.hint) from None


def _copy(layer: SourceLayer, blob: Path) -> str:
    sha256, size = hashlib.sha256(), 0
    with layer.open() as file, blob.open("xb") as out:
        expected = os.fstat(file.fileno()).st_size
        if layer.size_bytes not in (None, expected):
            raise refused(f"has {expected} bytes where {layer.size_bytes} were named")
        while data := file.read(_COPY_BYTES):
            sha256.update(data)
            size += out.write(data)
    digest = f"sha256:{sha256.hexdigest()}"
    if layer.digest and digest != layer.digest:
        raise refused(f"is not the one named: its digest is {digest[:19]}…, not {layer.digest[:19]}…")
    return digest


def _unpack(tree: Tree, layer: SourceLayer, blob: Path, budget: Budget) -> str:
    """Lays a blob over the tree and returns its diff_id: the digest of all that comes out, padding included."""
    with blob.open("rb") as file:
        stream = Unpacked(file, layer.compression, blob.stat().st_size, budget)
        members = TarStream(stream, budget)
        tree.begin_layer()
        for member in members:
            tree.apply(member, members.data())
        diff_id = stream.drain()
    if layer.diff_id and diff_id != layer.diff_id:
        raise refused(f"unpacks to something else than was named: {diff_id[:19]}…, not {layer.diff_id[:19]}…")
    if not layer.diff_id and not members.complete:
        raise refused("is cut short: the mark at the end of the archive is missing")
    return diff_id


def _pack_again(blob: Path, limits: Limits) -> str:
    """No layer may be packed with xz: the same archive with gzip, without a time stamp."""
    packed = blob.with_suffix(".gz")
    with blob.open("rb") as file, packed.open("xb") as out:
        stream = Unpacked(file, "xz", blob.stat().st_size, Budget(limits))
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_PACK_LEVEL, fileobj=out, mtime=0) as zipped:
            while piece := stream.some(_COPY_BYTES):
                zipped.write(piece)
    packed.replace(blob)
    with blob.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _add_agent(tree: Tree, work: Path) -> tuple[_Layer, dict[str, str]]:
    """The last layer: busybox, the agent, a /tmp for it, and the list of all files with what they hold."""
    tree.begin_layer()
    own = [*([] if tree.has(b"tmp") else [images.Entry("tmp", 0o1777)]), *images.agent_entries()]
    for entry in own:
        tree.apply(_member(entry), [entry.data or b""])
    files = {file.path: file for file in tree.files() if file.path != agent.MANIFEST.lstrip("/").encode()}
    if any(b"\n" in path for path in files):
        raise UsageError(
            "holds a file with a line end in its name",
            hint="the list of files the agent checks has a line for each: rename the file",
        )
    listing = images.manifest_entry(images.content_line(file.sha256, path) for path, file in files.items())
    data = listing.data or b""
    tree.apply(_member(listing), [data])
    archive = images.tar([*own, listing])
    blob = work / "blobs" / "agent"
    blob.write_bytes(packed := images.compressed(archive))
    descriptor = oci.Descriptor(media_type=oci.LAYER_TYPE, digest=oci.digest_of(packed), size=len(packed))
    sizes = {file.inode: file.size for file in files.values()}
    content = {images.CONTENT_DIGEST: oci.digest_of(data), images.CONTENT_BYTES: str(sum(sizes.values()) + len(data))}
    return _Layer(descriptor, oci.digest_of(archive), blob), content


def _member(entry: images.Entry) -> Member:
    kind = Kind.FOLDER if entry.data is None else Kind.FILE
    return Member(path=os.fsencode(entry.path), kind=kind, mode=entry.mode, size=len(entry.data or b""))


def _keep(
    home: Path, name: str, config: dict[str, Any], layers: Sequence[_Layer], content: dict[str, str], root: Path
) -> Image:
    """Moves everything to its place, the name last: whoever finds the name finds all of it."""
    layout = oci.Layout(home / "images")
    for layer in layers:
        target = layout.blob(layer.descriptor.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        layer.blob.replace(target)
    manifest = oci.Manifest(
        schema_version=2,
        media_type=oci.MANIFEST_TYPE,
        config=layout.put_json(oci.CONFIG_TYPE, _with_agent(config, [layer.diff_id for layer in layers])),
        layers=[layer.descriptor for layer in layers],
        annotations=content,
    )
    descriptor = layout.put_json(oci.MANIFEST_TYPE, manifest)
    with paths.whole_or_nothing(images.tree_of(home, descriptor)) as draft:
        root.rename(draft)
    with layout.renaming() as names:
        names[name] = descriptor
    return images.find(home, name)


def _with_agent(config: dict[str, Any], diff_ids: list[str]) -> dict[str, Any]:
    """The image's own configuration with one more layer. Its history would have to name each of them: it goes."""
    kept = {key: value for key, value in config.items() if key != "history"}
    return {**msgspec.to_builtins(manifests.machine()), **kept, "rootfs": {"type": "layers", "diff_ids": diff_ids}}

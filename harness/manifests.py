"""The documents that say what an image consists of: those of an OCI layout, and docker's `manifest.json`.

Size, then digest, then parsing: no byte of a document is interpreted before it is known to be the one that was named.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import msgspec

from harness import oci
from harness.errors import UsageError
from harness.packed import compression_of
from harness.shelf import Shelf, Source, SourceLayer
from harness.tarstream import refused

T = TypeVar("T")

_DOCKER = "application/vnd.docker."
_INDEX_TYPES = frozenset((oci.INDEX_TYPE, _DOCKER + "distribution.manifest.list.v2+json"))
_MANIFEST_TYPES = frozenset((oci.MANIFEST_TYPE, _DOCKER + "distribution.manifest.v2+json"))
_CONFIG_TYPES = frozenset((oci.CONFIG_TYPE, _DOCKER + "container.image.v1+json"))
_OCI_LAYER = "application/vnd.oci.image.layer."
_LAYER_TYPES = {
    **{
        f"{_OCI_LAYER}{kind}tar{end}": end[1:]
        for kind in ("v1.", "nondistributable.v1.")
        for end in ("", "+gzip", "+zstd")
    },
    **{
        f"{_DOCKER}image.rootfs.{kind}tar{end}": end[1:]
        for kind in ("diff.", "foreign.diff.")
        for end in ("", ".gzip", ".zstd")
    },
}
_NAMES = (oci.REF_NAME, "io.containerd.image.name")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x", "ppc64le": "ppc64le"}
_MOST_INDEXES = 4
_MAGIC_BYTES = 8


class Saved(msgspec.Struct, rename="pascal", kw_only=True):
    """One image of `docker save`."""

    config: str
    repo_tags: list[str] | None = None
    layers: list[str]


class Marker(msgspec.Struct, rename="camel"):
    image_layout_version: str


def machine() -> oci.Platform:
    """This host, in the words images use."""
    name = os.uname().machine
    return oci.Platform(architecture=_MACHINES.get(name, name), os="linux")


def from_layout(shelf: Shelf, reference: str) -> Source:
    """The image of an OCI layout; `reference` picks one when there are several."""
    version = _parse(shelf.read("oci-layout"), Marker, "oci-layout").image_layout_version
    if not version.startswith("1."):
        raise UsageError(f"is a layout of version {version[:20]!r}, unknown here", hint="this tool knows version 1")
    index = _parse(shelf.read("index.json"), oci.Index, "index.json")
    descriptor = _pick(index.manifests, reference)
    for _ in range(_MOST_INDEXES):
        if descriptor.media_type not in _INDEX_TYPES:
            break
        descriptor = _for_this_machine(_parse(_blob(shelf, descriptor), oci.Index, "an index").manifests)
    if descriptor.media_type not in _MANIFEST_TYPES:
        raise refused(f"holds a manifest of the type {descriptor.media_type[:100]!r}, unknown here")
    manifest = _parse(_blob(shelf, descriptor), oci.Manifest, "a manifest")
    if manifest.config.media_type not in _CONFIG_TYPES:
        raise UsageError(
            f"holds no image: its configuration is of the type {manifest.config.media_type[:100]!r}",
            hint="name an image, not another artifact",
        )
    document, config = _configuration(_blob(shelf, manifest.config), len(manifest.layers), shelf)
    layers = [
        _layer(shelf, one, number, diff_id)
        for number, (one, diff_id) in enumerate(zip(manifest.layers, config.rootfs.diff_ids, strict=True), 1)
    ]
    return Source(layers=layers, config=document)


def from_docker(shelf: Shelf, reference: str) -> Source:
    """The image of `docker save`; `reference` picks one by its tag. Layers are known by their diff_ids alone."""
    images = _parse(shelf.read("manifest.json"), list[Saved], "manifest.json")
    named = [one for one in images if not reference or reference in (one.repo_tags or ())]
    if len(named) != 1:
        _cannot_pick([tag for one in images for tag in one.repo_tags or ()], reference)
    saved = named[0]
    document, config = _configuration(shelf.read(saved.config), len(saved.layers), shelf)
    layers = list[SourceLayer]()
    for path, diff_id in zip(saved.layers, config.rootfs.diff_ids, strict=True):
        with shelf.open(path) as file:
            compression = compression_of(file.read(_MAGIC_BYTES))
        layers.append(SourceLayer(open=partial(shelf.open, path), compression=compression, diff_id=diff_id))
    return Source(layers=layers, config=document)


def _pick(descriptors: Sequence[oci.Descriptor], reference: str) -> oci.Descriptor:
    """The one of that name; without a name the only one that is for this machine."""
    if reference:
        descriptors = [one for one in descriptors if reference in map(one.annotations.get, _NAMES)]
    if len(descriptors) == 1:
        return descriptors[0]
    names = sorted({one.annotations[key] for one in descriptors for key in _NAMES if key in one.annotations})
    if reference or len(names) > 1 or not descriptors:
        _cannot_pick(names, reference)
    return _for_this_machine(descriptors)


def _cannot_pick(names: Sequence[str], reference: str) -> NoReturn:
    known = f"it has: {', '.join(names)}"[:500] if names else "its images have no names"
    what = f"has no image {reference!r}" if reference else "holds no image, or more than one"
    raise UsageError(f"{what} ({known})", hint="pick one: SOURCE:NAME" if names else "")


def _for_this_machine(descriptors: Sequence[oci.Descriptor]) -> oci.Descriptor:
    here = machine()
    fitting = [one for one in descriptors if one.platform in (here, None)]
    if not fitting:
        there = ", ".join(sorted({_shown(one.platform) for one in descriptors if one.platform}))[:300]
        raise _other_machine(there or "no machine at all")
    # Variants of one architecture are listed from the plainest on.
    return next((one for one in fitting if one.platform), fitting[0])


def _shown(platform: oci.Platform) -> str:
    return f"{platform.os}/{platform.architecture}"


def _other_machine(there: str) -> UsageError:
    here = _shown(machine())
    return UsageError(f"is for {there}, and this host is {here}", hint=f"get the image for {here}")


def _configuration(data: bytes, layers: int, shelf: Shelf) -> tuple[dict[str, Any], oci.Config]:
    """The configuration twice: as it is, to be kept, and as far as it is understood."""
    document = _parse(data, dict[str, Any], "a configuration")
    config = _parse(data, oci.Config, "a configuration")
    platform = oci.Platform(architecture=config.architecture, os=config.os)
    if platform != machine() and (config.architecture or config.os):
        raise _other_machine(_shown(platform))
    if len(config.rootfs.diff_ids) != layers:
        raise refused(f"has {layers} layers, and its configuration speaks of {len(config.rootfs.diff_ids)}")
    if not 0 < layers <= shelf.limits.layers:
        raise refused(f"has {layers} layers")
    for digest in config.rootfs.diff_ids:
        oci.hex_of(digest)
    return document, config


def _layer(shelf: Shelf, descriptor: oci.Descriptor, number: int, diff_id: str) -> SourceLayer:
    if descriptor.media_type not in _LAYER_TYPES:
        raise UsageError(
            f"has a layer {number} of the type {descriptor.media_type[:100]!r}, unknown here",
            hint="layers are tar archives, plain or compressed with gzip or zstd",
        )
    path = _path(descriptor)
    if not shelf.has(path):
        raise UsageError(
            f"lacks its layer {number} ({descriptor.digest[:19]}…)",
            hint="copy the whole image again; what an image says lies elsewhere is never fetched",
        )
    return SourceLayer(
        open=partial(shelf.open, path),
        compression=_LAYER_TYPES[descriptor.media_type],
        digest=descriptor.digest,
        size_bytes=descriptor.size,
        diff_id=diff_id,
    )


def _path(descriptor: oci.Descriptor) -> str:
    return f"blobs/sha256/{oci.hex_of(descriptor.digest)}"


def _blob(shelf: Shelf, descriptor: oci.Descriptor) -> bytes:
    """A document by its descriptor, checked before anybody looks into it."""
    data = shelf.read(_path(descriptor))
    if len(data) != descriptor.size:
        raise refused(f"has a document of {len(data)} bytes where {descriptor.size} were named")
    if hashlib.sha256(data).hexdigest() != oci.hex_of(descriptor.digest):
        raise refused(f"has a document that is not the one named ({descriptor.digest[:19]}…)")
    return data


def _parse(data: bytes, kind: type[T], what: str) -> T:
    try:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
        if "manifests" in keys and "layers" in keys:
            raise refused(f"has {what} that is a manifest and an index at once")
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise refused(f"has {what} that cannot be understood ({str(error)[:200]})") from None

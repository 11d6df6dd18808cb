"""A standard OCI image layout on disk: blobs by digest, an index of names. Knows nothing of what is inside an image.

`Layout` is a layout of our own; one from elsewhere is read by sources.py, which trusts nothing in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from harness import paths
from harness.errors import UsageError

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Platform(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Which machines a manifest is for."""

    architecture: str = ""
    os: str = ""


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What a blob is: its type, digest and size in bytes. Unknown fields of foreign tools are ignored."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    platform: Platform | None = None


class Manifest(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    schema_version: int
    media_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, rename="camel", kw_only=True):
    schema_version: int = 2
    media_type: str = INDEX_TYPE
    manifests: list[Descriptor] = []


class Settings(msgspec.Struct, rename="pascal", kw_only=True):
    """How the image wants to be run. Builders write null for what they leave out."""

    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None


class RootFs(msgspec.Struct):
    diff_ids: list[str]


class Config(msgspec.Struct, kw_only=True):
    """The part of an image's configuration that is used here."""

    architecture: str = ""
    os: str = ""
    config: Settings | None = None
    rootfs: RootFs


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def hex_of(digest: str) -> str:
    """The digits of a digest: what may stand in a path. UsageError for anything else."""
    if not _DIGEST.fullmatch(digest):
        raise UsageError(f"holds the digest {digest[:100]!r}", hint="a digest here is sha256: and 64 lower-case digits")
    return digest.partition(":")[2]


def is_compressed(media_type: str) -> bool:
    """Whether a layer of that type travels packed. `docker save` writes plain ones, and they are kept as they are."""
    return not media_type.endswith("tar")


class Layout:
    """One OCI image layout folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / hex_of(digest)

    def put(self, media_type: str, data: bytes) -> Descriptor:
        """Stores bytes once, whole or not at all."""
        descriptor = Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))
        blob = self.blob(descriptor.digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            paths.write_atomically(blob, data)
        return descriptor

    def put_json(self, media_type: str, value: Any) -> Descriptor:
        """Stores a document in one fixed form, so that equal documents have equal digests."""
        return self.put(media_type, msgspec.json.encode(value, order="sorted"))

    def manifest(self, descriptor: Descriptor) -> Manifest:
        return msgspec.json.decode(self.blob(descriptor.digest).read_bytes(), type=Manifest)

    def names(self) -> dict[str, Descriptor]:
        """Image name → its manifest's descriptor."""
        path = self.root / "index.json"
        if not path.exists():
            return {}
        index = msgspec.json.decode(path.read_bytes(), type=Index)
        return {one.annotations[REF_NAME]: one for one in index.manifests if REF_NAME in one.annotations}

    @contextmanager
    def renaming(self) -> Iterator[dict[str, Descriptor]]:
        """Yields the names for change and writes them back in one step; one writer at a time."""
        self.root.mkdir(parents=True, exist_ok=True)
        with paths.locked(self.root / ".lock"):
            names = self.names()
            yield names
            for name, descriptor in names.items():
                descriptor.annotations = {**descriptor.annotations, REF_NAME: name}
            paths.write_atomically(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            paths.write_atomically(
                self.root / "index.json", msgspec.json.encode(Index(manifests=list(names.values())), order="sorted")
            )

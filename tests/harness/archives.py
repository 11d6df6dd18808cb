"""Tar archives and image layouts made by hand, honest ones and others."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Entry = tarfile.TarInfo
Content = tuple[Entry, bytes]

OCI = "application/vnd.oci.image."
GZIP_LAYER = OCI + "layer.v1.tar+gzip"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> Content:
    """One entry; `fields` are TarInfo's own (mode, linkname, pax_headers, …)."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def file(name: str, data: bytes = b"x", **fields: Any) -> Content:
    return entry(name, data=data, **fields)


def folder(name: str, **fields: Any) -> Content:
    return entry(name, tarfile.DIRTYPE, **fields)


def link(name: str, target: str, **fields: Any) -> Content:
    return entry(name, tarfile.SYMTYPE, linkname=target, **fields)


def hard(name: str, target: str) -> Content:
    return entry(name, tarfile.LNKTYPE, linkname=target)


def tar(*contents: Content) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in contents:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class LayoutMaker:
    """An OCI layout in a folder. Every part may be bent before `write`."""

    def __init__(self, folder: Path, *layers: bytes, packed: Sequence[bytes] | None = None) -> None:
        self.folder = folder
        self.blobs = [gzip.compress(one, mtime=0) for one in layers] if packed is None else list(packed)
        self.config: dict[str, Any] = {
            "architecture": MACHINE,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        }
        self.layers = [self.put(blob, GZIP_LAYER) for blob in self.blobs]
        self.manifest: dict[str, Any] = {"schemaVersion": 2}
        self.index: dict[str, Any] = {"schemaVersion": 2}

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        blob = self.folder / "blobs" / "sha256" / digest(data).partition(":")[2]
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def put_json(self, value: object, media_type: str) -> dict[str, Any]:
        return self.put(json.dumps(value).encode(), media_type)

    def finish_manifest(self) -> dict[str, Any]:
        config = self.put_json(self.config, OCI + "config.v1+json")
        return self.put_json({"config": config, "layers": self.layers, **self.manifest}, OCI + "manifest.v1+json")

    def write(self) -> Path:
        self.index = {"manifests": [self.finish_manifest()], **self.index}
        (self.folder / "index.json").write_text(json.dumps(self.index))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return self.folder


def layout(folder: Path, *layers: bytes) -> Path:
    return LayoutMaker(folder, *layers).write()


def packed(folder: Path, archive: Path) -> Path:
    """A folder as an archive, without a `.` entry, as skopeo writes them."""
    with tarfile.open(archive, "w") as out:
        for one in sorted(folder.iterdir()):
            out.add(one, one.name)
    return archive


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """What is in a tree, by path: kind, mode, owner, time and content or target."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        what: object = None
        if stat.S_ISREG(state.st_mode):
            what = path.read_bytes()
        elif stat.S_ISLNK(state.st_mode):
            what = str(path.readlink())
        found[path.relative_to(root).as_posix()] = (
            stat.filemode(state.st_mode),
            state.st_uid,
            state.st_gid,
            state.st_mtime_ns,
            what,
        )
    return found

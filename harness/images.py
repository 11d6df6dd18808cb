"""One root file system by digest: the same bytes for every runtime.

In the store, `images/` is one OCI layout for all images and `trees/<hex>/` holds an image unpacked. Building is
reproducible: entries sorted, owners and times zero, gzip without a time stamp, so the same busybox and agent give the
same digest on every host with the same zlib.

The agent comes as the image's last layer under `/.tare/`, so that an image without a shell can be measured too.
Its `manifest` lists the SHA-256 of every regular file; the agent can check it from inside any box.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import agent, oci, paths, proc
from harness.errors import UsageError
from harness.model import Image, Kernel, Layer

CONTENT_DIGEST = "tare.content.digest"
CONTENT_BYTES = "tare.content.bytes"
KERNEL = "tare.kernel"

_BUSYBOX_PLACES = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an image: a regular file (`data`), a symbolic link (`target`), else a folder."""

    path: str
    mode: int = 0o755
    data: bytes | None = None
    target: str = ""


def build_tiny(home: Path, kernel: Kernel | None = None, *, name: str = "tiny", script: str = "") -> Image:
    """busybox-static and the agent (or another `script` in its place); returns the image, unpacked in the store."""
    busybox = static_busybox()
    base = sorted(_tiny_entries(busybox), key=lambda entry: entry.path)
    own = agent_entries(script)
    layers = [base, [*own, manifest_entry(map(_line, _files([*base, *own])))]]
    with changing(home):
        return _store(home, name, layers, kernel)


def find(home: Path, name: str) -> Image:
    """The image of that name; UsageError with what there is when it was not built."""
    layout = oci.Layout(home / "images")
    names = layout.names()
    if name not in names:
        known = f"there are: {', '.join(sorted(names))}" if names else "there is none yet"
        raise UsageError(
            f"no image named {name!r} ({known})",
            hint=f"build it: tare image build {name}; or bring it: tare image import SOURCE --name {name}",
        )
    return _load(home, layout, name, names[name])


def stored(home: Path) -> Iterator[Image]:
    """All images of the store by name."""
    layout = oci.Layout(home / "images")
    for name, descriptor in sorted(layout.names().items()):
        yield _load(home, layout, name, descriptor)


@contextmanager
def changing(home: Path) -> Iterator[None]:
    """One at a time adds an image or takes one away: blobs come before the name that says they are needed."""
    paths.make_folder(home)
    with paths.locked(home / ".import.lock"):
        yield


def static_busybox() -> Path:
    for path in _BUSYBOX_PLACES:
        # An ELF file that needs a loader names it near its start (PT_INTERP).
        if path.exists() and b"/ld-linux" not in path.read_bytes()[:4096]:
            return path
    raise UsageError("no static busybox on this host", hint="apt-get install busybox-static")


def _tiny_entries(busybox: Path) -> Iterator[Entry]:
    for folder in _FOLDERS:
        yield Entry(folder, 0o1777 if folder == "tmp" else 0o755)
    for applet in proc.run([str(busybox), "--list"]).split():
        # Relative, so that the link also holds below the unpacked tree, where a plain process uses it.
        yield Entry(f"bin/{applet}", 0o777, target="../.tare/busybox")
    yield Entry("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")
    yield Entry("etc/group", 0o644, b"root:x:0:\n")
    yield Entry("etc/hosts", 0o644, b"127.0.0.1 localhost\n")


def agent_entries(script: str = "") -> list[Entry]:
    """The image's last layer without its list: busybox and the agent (or another `script` in its place)."""
    return [
        Entry(".tare"),
        Entry(agent.AGENT.lstrip("/"), 0o644, (script or agent.script()).encode()),
        Entry(agent.BUSYBOX.lstrip("/"), 0o755, static_busybox().read_bytes()),
    ]


def manifest_entry(lines: Iterable[bytes]) -> Entry:
    """The list of all regular files of the image (itself left out), each line as `content_line` writes it."""
    return Entry(agent.MANIFEST.lstrip("/"), 0o644, b"".join(sorted(lines)))


def content_line(sha256: str, path: bytes) -> bytes:
    """As `sha256sum -c` reads it, the agent's own busybox included."""
    return sha256.encode() + b"  " + path + b"\n"


def _files(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if entry.data is not None)


def _line(entry: Entry) -> bytes:
    return content_line(hashlib.sha256(entry.data or b"").hexdigest(), entry.path.encode())


def _store(home: Path, name: str, layers: Sequence[Sequence[Entry]], kernel: Kernel | None) -> Image:
    layout = oci.Layout(home / "images")
    tars = [tar(entries) for entries in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [f"PATH={agent.PATH}"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [oci.digest_of(one) for one in tars]},
    }
    everything = [entry for entries in layers for entry in entries]
    manifest = oci.Manifest(
        schema_version=2,
        media_type=oci.MANIFEST_TYPE,
        config=layout.put_json(oci.CONFIG_TYPE, config),
        layers=[layout.put(oci.LAYER_TYPE, compressed(one)) for one in tars],
        annotations={
            CONTENT_DIGEST: oci.digest_of(everything[-1].data or b""),
            CONTENT_BYTES: str(sum(len(entry.data or b"") for entry in everything)),
        },
    )
    descriptor = layout.put_json(oci.MANIFEST_TYPE, manifest)
    if kernel:
        descriptor.annotations = {KERNEL: msgspec.json.encode(kernel).decode()}
    _unpack(tree_of(home, descriptor), everything)
    with layout.renaming() as names:
        names[name] = descriptor
    return _load(home, layout, name, descriptor)


def tar(entries: Sequence[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mode = entry.mode
            if entry.data is not None:
                info.size = len(entry.data)
            else:
                info.type = tarfile.SYMTYPE if entry.target else tarfile.DIRTYPE
                info.linkname = entry.target
            archive.addfile(info, io.BytesIO(entry.data or b""))
    return buffer.getvalue()


def compressed(archive: bytes) -> bytes:
    return gzip.compress(archive, compresslevel=9, mtime=0)


def tree_of(home: Path, descriptor: oci.Descriptor) -> Path:
    return home / "trees" / descriptor.digest.partition(":")[2]


def _unpack(tree: Path, entries: Iterable[Entry]) -> None:
    """Writes our own entries as files. Layers from elsewhere never pass through here: they are not to be trusted."""
    if tree.exists():
        return
    with paths.whole_or_nothing(tree) as draft:
        for entry in entries:
            path = draft / entry.path
            if entry.data is not None:
                path.write_bytes(entry.data)
            elif entry.target:
                path.symlink_to(entry.target)
                continue
            else:
                path.mkdir()
            path.chmod(entry.mode)


def _load(home: Path, layout: oci.Layout, name: str, descriptor: oci.Descriptor) -> Image:
    manifest = layout.manifest(descriptor)
    config = msgspec.json.decode(layout.blob(manifest.config.digest).read_bytes(), type=oci.Config)
    wants = config.config or oci.Settings()
    kernel = descriptor.annotations.get(KERNEL)
    return Image(
        name=name,
        digest=descriptor.digest,
        content_digest=manifest.annotations[CONTENT_DIGEST],
        content_bytes=int(manifest.annotations[CONTENT_BYTES]),
        layers=tuple(
            Layer(
                digest=layer.digest,
                diff_id=diff_id,
                media_type=layer.media_type,
                size_bytes=layer.size,
                path=str(layout.blob(layer.digest)),
            )
            for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True)
        ),
        root=str(tree_of(home, descriptor)),
        env=tuple(wants.env or ()),
        entrypoint=tuple(wants.entrypoint or ()),
        command=tuple(wants.cmd or ()),
        working_dir=wants.working_dir or "",
        user=wants.user or "",
        stop_signal=wants.stop_signal or "",
        kernel=msgspec.json.decode(kernel, type=Kernel) if kernel else None,
    )

"""A guest kernel with its modules, kept in the store. Nothing is ever installed on the host.

By default the distribution's cloud kernel: its package is downloaded and unpacked. A person may name a kernel of
their own, or `host` for the one that runs here; it is copied, because libvirt changes the owner of what it boots.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from harness import log, paths, proc
from harness.errors import TareError, UsageError
from harness.model import Kernel

PACKAGE = "linux-image-cloud-amd64"
_DOWNLOAD_TIMEOUT_S = 600.0
_MAGIC_OFFSET = {b"HdrS": 0x202, b"\x7fELF": 0}


def provide(home: Path, package: str = PACKAGE) -> Kernel:
    """A kernel of the distribution's, by default its cloud kernel, downloaded and unpacked on first use."""
    folder = home / "kernels" / package
    record = folder / "kernel.json"
    if not record.exists():
        _download(folder)
    return msgspec.json.decode(record.read_bytes(), type=Kernel)


def chosen(home: Path, path: str, modules: str) -> Kernel:
    """A kernel somebody named, copied into the store: `host`, or a bootable file and its modules folder."""
    if path == "host":
        release = os.uname().release
        return chosen(home, f"/boot/vmlinuz-{release}", f"/lib/modules/{release}")
    source = Path(path)
    check(source)
    if not modules or not (Path(modules) / "modules.dep").is_file():
        raise UsageError(
            f"no modules.dep in {modules or 'the modules folder (none was given)'}",
            hint="give --modules the folder /lib/modules/<release> of that kernel, after depmod",
        )
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    folder = home / "kernels" / digest
    if not folder.exists():
        with paths.whole_or_nothing(folder) as draft:
            shutil.copyfile(source, draft / "vmlinuz")
            shutil.copytree(
                modules, draft / "modules", symlinks=False, ignore=shutil.ignore_patterns("build", "source")
            )
    return Kernel(
        version=Path(modules).resolve().name,
        path=str(folder / "vmlinuz"),
        modules=str(folder / "modules"),
        digest=f"sha256:{digest}",
    )


def check(path: Path) -> None:
    """UsageError unless the file is a Linux bzImage or an ELF image."""
    try:
        with path.open("rb") as file:
            head = file.read(0x210)
    except OSError as error:
        raise UsageError(f"cannot read the kernel {path}: {error.strerror}", hint="give --kernel a vmlinuz") from None
    if not any(head[offset : offset + 4] == magic for magic, offset in _MAGIC_OFFSET.items()):
        raise UsageError(f"{path} is not a kernel (neither a bzImage nor an ELF file)", hint="give --kernel a vmlinuz")


def _download(folder: Path) -> None:
    log.say(f"guest kernel: downloading {folder.name} (kept in the store, not installed)")
    hint = "apt must work for downloads; or name a kernel: --kernel PATH --modules DIR"
    package = _versioned_package(folder.name, hint)
    with paths.whole_or_nothing(folder) as draft:
        draft.chmod(0o755)  # apt's own user must be able to write the download
        proc.run(["apt-get", "download", "-q", package], cwd=draft, timeout_s=_DOWNLOAD_TIMEOUT_S, hint=hint)
        deb = next(draft.glob("*.deb"))
        tree = draft / "package"
        proc.run(["dpkg-deb", "-x", str(deb), str(tree)], timeout_s=_DOWNLOAD_TIMEOUT_S)
        deb.unlink()
        image = next((tree / "boot").glob("vmlinuz-*"))
        release = image.name.removeprefix("vmlinuz-")
        modules = _modules_folder(tree, release)
        proc.run(["depmod", "-b", str(modules.parents[2]), release], hint="apt-get install kmod")
        kernel = Kernel(
            version=release,
            path=str(folder / image.relative_to(draft)),
            modules=str(folder / modules.relative_to(draft)),
            digest=f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}",
        )
        (draft / "kernel.json").write_bytes(msgspec.json.encode(kernel))


def _versioned_package(package: str, hint: str) -> str:
    """The package that one stands for: its first dependency."""
    shown = proc.run(["apt-cache", "depends", "--no-recommends", "--no-suggests", package], hint=hint)
    for line in shown.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise TareError(f"apt knows no package {package}", hint=f"apt-get update, then again; {hint}")


def _modules_folder(tree: Path, release: str) -> Path:
    for prefix in ("lib/modules", "usr/lib/modules"):
        if (tree / prefix / release).is_dir():
            return tree / prefix / release
    raise TareError(
        f"the package of kernel {release} holds no modules", hint="name a kernel: --kernel PATH --modules DIR"
    )

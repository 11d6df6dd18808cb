"""An image as a virtual machine starts it: disk, kernel and initrd, each kept in the store by what it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import agent, kernels, paths
from harness.model import Artifact, Image, Kernel, Prepared, Role
from runtimes.vm import bootdisk, forms, initrd, kernel
from runtimes.vm.bootdisk import Loaded
from runtimes.vm.forms import Form
from runtimes.vm.profiles import Profile


def prepared(store: Path, image: Image, profile: Profile, form: Form, command_line: str) -> Prepared:
    """With every file that takes. A box that boots its disk has kernel and initrd in there and brings no others."""
    guest_kernel = image.kernel or kernels.provide(store)
    image = msgspec.structs.replace(image, kernel=guest_kernel)  # so that the results say which it was
    modules = (*profile.modules, *form.modules)
    if profile.loader is None:
        data = initrd.build(_busybox(image), guest_kernel, modules)
        return Prepared(
            image=image, artifacts=(forms.root(store, image, form), *_handed_over(store, guest_kernel, data))
        )
    kernels.check(Path(guest_kernel.path))
    data = initrd.build(_busybox(image), guest_kernel, modules, initrd.unit())
    disk = bootdisk.base(store, image, profile.loader, Loaded(guest_kernel, data, command_line))
    return Prepared(image=image, artifacts=(forms.packed(disk, form),))


def _handed_over(store: Path, guest_kernel: Kernel, data: bytes) -> Sequence[Artifact]:
    """The host hands the command line over with the kernel, so no file depends on it."""
    vmlinux = kernel.bootable(store, guest_kernel)
    return (
        Artifact(role=Role.KERNEL, path=str(vmlinux), compressed=vmlinux == Path(guest_kernel.path)),
        Artifact(role=Role.INITRD, path=str(_kept(store, data))),
    )


def _busybox(image: Image) -> bytes:
    return (Path(image.root) / agent.BUSYBOX.lstrip("/")).read_bytes()


def _kept(store: Path, data: bytes) -> Path:
    path = store / "vm" / "initrds" / f"{hashlib.sha256(data).hexdigest()}.cpio"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_atomically(path, data)
    return path

"""An image as a virtual machine starts it: disk, kernel and initrd, each kept in the store by what it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harness import agent, kernels, paths
from harness.model import Artifact, Image, Kernel, Prepared, Role
from runtimes.vm import forms, initrd, kernel, uefi
from runtimes.vm.forms import Form
from runtimes.vm.profiles import Profile


def prepared(store: Path, image: Image, profile: Profile, form: Form, command_line: str) -> Prepared:
    """With every file that takes. A box that boots its disk has kernel and initrd in there and brings no others."""
    guest_kernel = image.kernel or kernels.provide(store)
    made = _bootable_disk if profile.from_disk else _handed_over
    return Prepared(image=image, artifacts=tuple(made(store, image, guest_kernel, profile, form, command_line)))


def _handed_over(
    store: Path, image: Image, guest_kernel: Kernel, profile: Profile, form: Form, command_line: str
) -> Sequence[Artifact]:
    """The host hands the command line over with the kernel, so no file depends on it."""
    vmlinux = kernel.bootable(store, guest_kernel)
    data = initrd.build(_busybox(image), guest_kernel, (*profile.modules, *form.modules))
    return (
        forms.root(store, image, form),
        Artifact(role=Role.KERNEL, path=str(vmlinux), compressed=vmlinux == Path(guest_kernel.path)),
        Artifact(role=Role.INITRD, path=str(_kept(store, data))),
    )


def _bootable_disk(
    store: Path, image: Image, guest_kernel: Kernel, profile: Profile, form: Form, command_line: str
) -> Sequence[Artifact]:
    kernels.check(Path(guest_kernel.path))
    data = initrd.build(_busybox(image), guest_kernel, profile.modules, initrd.unit())
    return (forms.packed(uefi.base(store, image, uefi.Loaded(guest_kernel, data, command_line)), form),)


def _busybox(image: Image) -> bytes:
    return (Path(image.root) / agent.BUSYBOX.lstrip("/")).read_bytes()


def _kept(store: Path, data: bytes) -> Path:
    path = store / "vm" / "initrds" / f"{hashlib.sha256(data).hexdigest()}.cpio"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_atomically(path, data)
    return path

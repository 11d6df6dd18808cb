"""Virtual machines through libvirt, as a runtime: `kvm` and `tcg` are one class with one switch between them.

A start is: cgroup, overlay disk, two listening sockets, domain created paused, resumed. It is paused in between so
that what libvirt costs and what virtualization costs are two numbers.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness import images, kernels, proc
from harness.cgroups import Cgroup, Limits, hierarchies
from harness.contract import Instance, Workspace
from harness.errors import TrialFailed, Unsupported, UsageError
from harness.model import Feature, Image, Prepared, Role, Spec, Support
from runtimes.bridge import bridges
from runtimes.bridge.network import BRIDGE, NONE, Network
from runtimes.vm import (
    checkpoints,
    connection,
    disk,
    forms,
    kernel,
    kvmcheck,
    launch,
    placement,
    preparing,
    processes,
    sweep,
    tsc,
)
from runtimes.vm.connection import Connection
from runtimes.vm.domain import KVM, TCG, Accelerator, Boot, Machine
from runtimes.vm.launch import Listeners
from runtimes.vm.profiles import BIOS, DIRECT, FULL, MICRO, Profile

_CANARY_S = 8.0
OPTIONS = {
    "uri": "a libvirt URI, by default the driver embedded in this process",
    "disk": f"the form of the image's disk: {', '.join(form.name for form in forms.FORMS)}, by default the first",
    "append": "words for the kernel command line, after ours",
}
FEATURES = (Feature.EXEC, Feature.PAUSE, Feature.CHECKPOINT)


class VmRuntime:
    """`Runtime` of the contract."""

    options: Mapping[str, str] = OPTIONS

    def __init__(self, workspace: Workspace, accelerator: Accelerator, profile: Profile) -> None:
        self.name = profile.runtime(accelerator.name)
        self._workspace = workspace
        self._accelerator = accelerator
        self._profile = profile
        self._may_limit = hierarchies().permitted
        self._form = forms.chosen(workspace.options.get("disk", forms.EXT4.name), profile)
        self._connection: Connection | None = None
        self._network = Network(workspace.mark, workspace.scratch / "network.log")
        self._scripts = workspace.store / "vm" / "emulator"
        self._emulator = Path()
        self._command_line = ""
        self._owner: str | None = None

    def probe(self) -> Support:
        """Opens libvirt and asks it about QEMU; for `kvm` climbs the ladder of kvmcheck, boot canary included."""
        version, facts = "", {}
        try:
            version = _versions()
            if self._accelerator is KVM:
                state = f"{version}, {self._profile.name}, {os.geteuid()}, {sorted(self._workspace.options.items())}"
                verdict = kvmcheck.check(kvmcheck.remembered(self._workspace.store, state, self._canary))
                facts = verdict.facts
                if not verdict.usable:
                    raise Unsupported(verdict.reason, hint=verdict.hint)
            self._open()
        except (Unsupported, proc.CommandFailed) as error:
            return self._support(version, facts, reason=error.message, hint=error.hint)
        return self._support(version, facts)

    def _support(self, version: str, facts: dict[str, str], reason: str = "", hint: str = "") -> Support:
        return Support(
            available=not reason,
            reason=reason,
            hint=hint,
            version=version,
            emulated=self._accelerator.emulated,
            features=tuple(self._features()),
            facts=facts | self._lacks(),
        )

    def _features(self) -> Iterator[Feature]:
        yield from FEATURES
        if self._may_limit:
            yield Feature.LIMITS
        if os.geteuid() == 0:
            yield Feature.NETWORK
        if self._profile.from_disk:
            yield Feature.SHUTDOWN

    def _lacks(self) -> dict[str, str]:
        """What a box does without because of who runs Tare."""
        lacks = {}
        if not self._may_limit:
            lacks["cgroup"] = "none, for want of permission: no account of CPU time and charged memory, no quota"
        if os.geteuid() != 0:
            lacks["network"] = "none: bridges are made as root"
        return lacks

    def _cgroup(self, spec: Spec) -> Cgroup | None:
        """No memory limit: guest memory limits itself, and QEMU's own must not be taken from it.

        None for who may not make one: nothing then keeps an account of the box's CPU time. Its CPUs are libvirt's to
        pin, with or without a controller.
        """
        if self._may_limit:
            cpuset = () if "cpuset" in hierarchies().missing else spec.cpuset
            return Cgroup.create(spec.name, Limits(cpuset=cpuset, cpus=spec.cpus))
        if spec.cpus is not None:
            raise Unsupported("no permission to make a cgroup, which a CPU quota needs", hint="run as root")
        return None

    def _canary(self) -> str:
        """Boots the smallest image; what went wrong, or nothing."""
        store = self._workspace.store
        try:
            image = images.find(store, "tiny")
        except UsageError:
            image = images.build_tiny(store, kernels.provide(store))
        spec = Spec(name=f"{self._workspace.mark}-canary", prepared=self.prepare(image))
        try:
            with self.start(spec) as box:
                box.wait_ready(_CANARY_S)
        except TrialFailed as error:
            said = error.log.strip().splitlines()[-1:]
            return f"{error.message}, and its console {f'ends in {said[0]!r}' if said else 'is empty'}"
        return ""

    def prepare(self, image: Image) -> Prepared:
        self._open()
        self._workspace.scratch.mkdir(parents=True, exist_ok=True)
        return preparing.prepared(self._workspace.store, image, self._profile, self._form, self._command_line)

    def start(self, spec: Spec) -> AbstractContextManager[Instance]:
        return self._running(spec)

    def restore(self, spec: Spec, folder: Path) -> AbstractContextManager[Instance]:
        return self._running(spec, folder)

    @contextmanager
    def _running(self, spec: Spec, checkpoint: Path | None = None) -> Iterator[Instance]:
        requested_s = time.monotonic()
        if spec.network not in (NONE, BRIDGE) or spec.pids is not None:
            raise Unsupported(
                f"a virtual machine here has the network {NONE} or {BRIDGE}, and no limit on its number of processes",
                hint=f"ask for {BRIDGE}, and leave out the pids limit",
            )
        if checkpoint and spec.network != NONE:
            raise Unsupported("a restored virtual machine has no network", hint=f"ask for {NONE}")
        if spec.memory_bytes < self._profile.least_bytes:
            least = f"{self._profile.least_bytes >> 20} MiB of memory"
            raise Unsupported(f"{self.name} does not boot with less than {least}", hint=f"give it at least {least}")
        link = self._open()
        with ExitStack() as stack:
            cgroup = self._cgroup(spec)
            if cgroup:
                stack.callback(cgroup.remove)
            listeners = stack.enter_context(launch.listening(link.folder, spec.name))
            way_out = stack.enter_context(self._network.linked(spec.name, spec.network))
            machine = replace(self._machine(spec, link, listeners), link=way_out)
            stack.callback(machine.overlay.unlink, missing_ok=True)
            if checkpoint:
                machine = replace(
                    machine, state=checkpoints.check(checkpoint, spec.prepared.image, machine.boot.image_disk)
                )
                checkpoints.bring_disk(checkpoint, machine.overlay)
            else:
                disk.create_overlay(machine.overlay, machine.boot.base)
            if machine.variables and machine.boot.firmware:
                stack.callback(machine.variables.unlink, missing_ok=True)
                shutil.copyfile(machine.boot.firmware.variables, machine.variables)
            instance = launch.boot(link, machine, cgroup, listeners, requested_s)
            stack.callback(instance.stop)
            yield instance

    def close(self) -> None:
        self._network.close()
        if self._connection:
            self._connection.close()
            self._connection = None

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        return [*sweep.sweep(self._scripts / placement.BOXES, live), *bridges.sweep(live)]

    def _open(self) -> Connection:
        if self._connection and not self._connection.alive:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            if self._profile.loader:
                self._profile.loader.check()
            link = connection.open_connection(self._workspace)
            self._emulator = connection.find_emulator()
            if link.embedded:
                self._emulator = placement.install(self._scripts, self._emulator)
            with processes.adoption(False):
                link.ask_capabilities(self._emulator, self._profile.machine, self._accelerator.domain_type)
            self._command_line = " ".join(self._own_words())
            self._owner = link.owner_label()
            self._connection = link
        return self._connection

    def _own_words(self) -> Iterator[str]:
        """What our kernels are told. One that boots by itself is left to itself."""
        if self._profile.loader:
            yield self._profile.loader.command_line
        else:
            yield kernel.command_line(tsc.host_khz() if self._accelerator.emulated else None)
        yield from self._form.words.split()
        yield from self._workspace.options.get("append", "").split()  # the person's own, last

    def _machine(self, spec: Spec, link: Connection, listeners: Listeners) -> Machine:
        artifacts = {artifact.role: artifact for artifact in spec.prepared.artifacts}
        files = {role: Path(artifact.path) for role, artifact in artifacts.items()}
        chosen = spec.prepared.image.kernel
        firmware = self._profile.loader.firmware if self._profile.loader else None
        return Machine(
            name=spec.name,
            accelerator=self._accelerator,
            emulator=self._emulator,
            boot=Boot(
                kernel=files.get(Role.KERNEL),
                initrd=files.get(Role.INITRD),
                kernel_release=f"{chosen.version}, {chosen.digest}" if chosen else "",
                command_line=self._command_line,
                base=forms.below(self._workspace.store, self._form, artifacts[Role.ROOT]),
                lower=files[Role.ROOT] if self._form.layered else None,
                firmware=firmware,
            ),
            overlay=self._workspace.scratch / f"{spec.name}.qcow2",
            agent_socket=listeners.agent_path,
            console_socket=listeners.console_path,
            memory_bytes=spec.memory_bytes,
            cpuset=spec.cpuset,
            profile=self._profile,
            variables=self._workspace.scratch / f"{spec.name}.vars" if firmware else None,
            # A daemon's QEMU may be confined to what its domain names, and libvirt knows nothing of the trace.
            trace=listeners.trace if link.embedded else None,
            owner=self._owner,
            bridge=bridges.name_of(self._workspace.mark),
        )


def _versions() -> str:
    """QEMU's own words, and libvirt's number."""
    said = proc.run([str(connection.find_emulator()), "--version"], hint=connection.INSTALL_HINT)
    return f"QEMU {said.split('version ')[-1].split()[0]}, libvirt {connection.library_version()}"


# Emulation is the same machine, each guest instruction translated.
kvm, tcg = (partial(VmRuntime, accelerator=one, profile=DIRECT) for one in (KVM, TCG))
kvm_micro, tcg_micro = (partial(VmRuntime, accelerator=one, profile=MICRO) for one in (KVM, TCG))
kvm_full, tcg_full = (partial(VmRuntime, accelerator=one, profile=FULL) for one in (KVM, TCG))
kvm_bios, tcg_bios = (partial(VmRuntime, accelerator=one, profile=BIOS) for one in (KVM, TCG))

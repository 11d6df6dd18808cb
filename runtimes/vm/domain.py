"""A box as libvirt's domain XML: a pure function, compared with golden files and libvirt's own schema in the tests.

A machine that is handed kernel and initrd or boots its disk, a virtio disk, a virtio-serial port for the agent, an ISA
serial port for the console, and nothing else. What else libvirt would add by itself is switched off by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from runtimes.bridge.netlink import Link, hardware_address
from runtimes.vm.bootdisk import Firmware
from runtimes.vm.disk import Backing
from runtimes.vm.profiles import DIRECT, Address, Profile
from runtimes.vm.timeline import EVENTS

PORT_NAME = "tare.0"
"""The virtio-serial port the agent speaks on; init.sh looks for this name."""

_TCG_CACHE_MIB = 32
_QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
register_namespace("qemu", _QEMU_NAMESPACE)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How guest instructions run. `domain_type` is libvirt's word for it."""

    name: str
    domain_type: str
    emulated: bool


KVM = Accelerator("kvm", "kvm", emulated=False)
TCG = Accelerator("tcg", "qemu", emulated=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What every box of an image starts from. Without a kernel, its disk has one, and firmware to start it."""

    kernel: Path | None = None
    initrd: Path | None = None
    kernel_release: str = ""
    """Its version and digest, in words."""
    command_line: str
    base: Backing
    lower: Path | None = None
    """The image, read-only on a disk of its own, where the base has only room for what the box writes."""
    firmware: Firmware | None = None

    @property
    def image_disk(self) -> Path:
        return self.lower or self.base.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One box, as far as libvirt is concerned."""

    name: str
    accelerator: Accelerator
    emulator: Path
    boot: Boot
    overlay: Path
    agent_socket: Path
    console_socket: Path
    memory_bytes: int
    cpuset: tuple[int, ...] = ()
    profile: Profile = DIRECT
    trace: Path | None = None
    """Where QEMU notes its own instants, if it is to."""
    variables: Path | None = None
    """What its firmware remembers."""
    state: Path | None = None
    """What it goes on from, instead of booting."""
    link: Link | None = None
    """Its way out: a port of that bridge."""
    bridge: str = ""
    owner: str | None = None
    """User and group of QEMU, to a daemon that would run it as somebody else and give that one our files."""

    @property
    def vcpus(self) -> int:
        """As many as the host CPUs it may use, so that neither side waits for the other."""
        return len(self.cpuset) or 1


def domain_xml(machine: Machine) -> str:
    """The whole document."""
    root = Element("domain", type=machine.accelerator.domain_type)
    _leaf(root, "name", machine.name)
    _leaf(root, "memory", str(machine.memory_bytes), unit="b")
    _named_memory(SubElement(root, "memoryBacking"))
    _leaf(root, "vcpu", str(machine.vcpus), placement="static")
    if machine.cpuset:
        _pin(SubElement(root, "cputune"), machine)
    _operating_system(SubElement(root, "os"), machine)
    _features(SubElement(root, "features"), machine.accelerator)
    _cpu(root, machine.accelerator)
    clock = SubElement(root, "clock", offset="utc")
    if machine.profile.pci:  # a microvm has no such timer, and QEMU does not take a no for it
        SubElement(clock, "timer", name="hpet", present="no")
    for event in ("poweroff", "reboot", "crash"):
        _leaf(root, f"on_{event}", "destroy")
    _devices(SubElement(root, "devices"), machine)
    if machine.owner:
        label = SubElement(root, "seclabel", type="static", model="dac", relabel="no")
        _leaf(label, "label", machine.owner)
    if machine.trace:
        _trace(root, machine.trace)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _leaf(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _named_memory(backing: Element) -> None:
    """A memory file: on the host, the guest's memory can then be told from QEMU's own by the name of the mapping."""
    SubElement(backing, "source", type="memfd")
    SubElement(backing, "access", mode="shared")


def _pin(cputune: Element, machine: Machine) -> None:
    """Threads may use the whole set, as a container's may: one CPU each would be a stricter box."""
    cpuset = ",".join(map(str, machine.cpuset))
    for number in range(machine.vcpus):
        SubElement(cputune, "vcpupin", vcpu=str(number), cpuset=cpuset)
    SubElement(cputune, "emulatorpin", cpuset=cpuset)


def _operating_system(parent: Element, machine: Machine) -> None:
    _leaf(parent, "type", "hvm", arch="x86_64", machine=machine.profile.machine)
    if machine.boot.firmware:
        _leaf(parent, "loader", str(machine.boot.firmware.code), readonly="yes", type="pflash")
        _leaf(parent, "nvram", str(machine.variables))
    elif machine.boot.kernel:
        _leaf(parent, "kernel", str(machine.boot.kernel))
        _leaf(parent, "initrd", str(machine.boot.initrd))
        _leaf(parent, "cmdline", machine.boot.command_line)


def _features(parent: Element, accelerator: Accelerator) -> None:
    SubElement(parent, "acpi")
    SubElement(parent, "apic")
    if accelerator.emulated:
        _leaf(SubElement(parent, "tcg"), "tb-cache", str(_TCG_CACHE_MIB), unit="MiB")


def _cpu(parent: Element, accelerator: Accelerator) -> None:
    if not accelerator.emulated:
        # Less what cannot be saved, such as a counter whose rate is promised: QEMU would refuse a checkpoint.
        SubElement(parent, "cpu", mode="host-passthrough", check="none", migratable="on")
        return
    cpu = SubElement(parent, "cpu", mode="maximum", check="none")
    # Five-level page tables make every emulated page walk longer and no guest needs them.
    SubElement(cpu, "feature", policy="disable", name="la57")


def _devices(parent: Element, machine: Machine) -> None:
    addresses = machine.profile.addresses()
    _leaf(parent, "emulator", str(machine.emulator))
    disk = SubElement(parent, "disk", type="file", device="disk")
    SubElement(disk, "driver", name="qemu", type="qcow2")
    SubElement(disk, "source", file=str(machine.overlay))
    # Spelled out, so that libvirt neither guesses the format nor opens the chain to look.
    backing = SubElement(disk, "backingStore", type="file")
    SubElement(backing, "format", type=machine.boot.base.format)
    SubElement(backing, "source", file=str(machine.boot.base.path))
    SubElement(backing, "backingStore")
    SubElement(disk, "target", dev="vda", bus="virtio")
    SubElement(disk, "address", next(addresses))
    SubElement(parent, "controller", type="usb", model="none")
    serial_bus = SubElement(parent, "controller", type="virtio-serial", index="0")
    SubElement(serial_bus, "address", next(addresses))
    console = _socket(parent, "serial", machine.console_socket)
    SubElement(console, "target", type="isa-serial", port="0")
    channel = _socket(parent, "channel", machine.agent_socket)
    SubElement(channel, "target", type="virtio", name=PORT_NAME)
    if machine.link:
        _network(parent, machine, machine.link, next(addresses))
    if machine.boot.lower:
        _read_only_disk(parent, machine.boot.lower, next(addresses))
    SubElement(parent, "memballoon", model="none")


def _read_only_disk(parent: Element, path: Path, address: Address) -> None:
    """At a higher address than the other, so that the guest finds it second."""
    disk = SubElement(parent, "disk", type="file", device="disk")
    SubElement(disk, "driver", name="qemu", type="raw")
    SubElement(disk, "source", file=str(path))
    SubElement(disk, "backingStore")
    SubElement(disk, "target", dev="vdb", bus="virtio")
    SubElement(disk, "readonly")
    SubElement(disk, "address", address)


def _network(parent: Element, machine: Machine, link: Link, address: Address) -> None:
    """libvirt makes the host's end, QEMU holds it, and with QEMU it goes. The guest takes its address from the MAC."""
    interface = SubElement(parent, "interface", type="bridge")
    SubElement(interface, "mac", address=hardware_address(link.address).hex(":"))
    SubElement(interface, "source", bridge=machine.bridge)
    SubElement(interface, "target", dev=link.name)
    SubElement(interface, "model", type="virtio")
    if machine.profile.pci:
        SubElement(interface, "rom", enabled="no")  # nobody boots from it
    SubElement(interface, "address", address)


def _socket(parent: Element, tag: str, path: Path) -> Element:
    """A character device that connects to a socket of ours: it is connected before the guest's first instruction."""
    element = SubElement(parent, tag, type="unix")
    SubElement(element, "source", mode="connect", path=str(path))
    return element


def _trace(root: Element, path: Path) -> None:
    """The only words that libvirt passes on unread: it has none of its own for a trace."""
    words = ["-D", str(path), *(word for event in EVENTS for word in ("-trace", event))]
    line = SubElement(root, f"{{{_QEMU_NAMESPACE}}}commandline")
    for word in words:
        SubElement(line, f"{{{_QEMU_NAMESPACE}}}arg", value=word)

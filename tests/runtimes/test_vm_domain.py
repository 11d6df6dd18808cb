"""Domain XML: golden files for every profile under both accelerators, and libvirt's own schema.

`python -m pytest tests/runtimes/test_vm_domain.py` shows the difference; a golden file is changed by hand.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from harness import proc
from runtimes.bridge.netlink import Link
from runtimes.vm import kernel, tsc
from runtimes.vm.bootdisk import Firmware
from runtimes.vm.disk import Backing
from runtimes.vm.domain import KVM, TCG, Accelerator, Boot, Machine, domain_xml
from runtimes.vm.profiles import BIOS, DIRECT, FULL, MICRO, Profile

DATA = Path(__file__).parents[1] / "data" / "vm"


accelerators = pytest.mark.parametrize("accelerator", [KVM, TCG], ids=lambda accelerator: accelerator.name)
profiles = pytest.mark.parametrize("profile", [DIRECT, MICRO, FULL, BIOS], ids=lambda profile: profile.name)


def machine(accelerator: Accelerator, profile: Profile = DIRECT) -> Machine:
    loader = profile.loader
    firmware = Firmware(Path("/firmware/code.fd"), Path("/firmware/vars.fd")) if loader and loader.firmware else None
    return Machine(
        name="tare-run-1",
        accelerator=accelerator,
        emulator=Path("/store/vm/emulator/qemu-system-x86_64"),
        boot=Boot(
            kernel=None if loader else Path("/store/vm/kernels/sha256-0/vmlinux"),
            initrd=None if loader else Path("/store/vm/initrds/0.cpio"),
            command_line=kernel.command_line(2_000_000 if accelerator.emulated else None),
            base=Backing(Path("/store/vm/disks/sha256-0/disk.ext4"), "raw", 1 << 30),
            firmware=firmware,
        ),
        overlay=Path("/scratch/tare-run-1.qcow2"),
        agent_socket=Path("/short/tare-run-1.agent"),
        console_socket=Path("/short/tare-run-1.console"),
        memory_bytes=256 << 20,
        cpuset=(0, 1),
        profile=profile,
        trace=Path("/short/tare-run-1.trace"),
        variables=Path("/scratch/tare-run-1.vars") if firmware else None,
    )


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    """libvirt's own, found beside the file that its pkg-config entry names."""
    api = Path(proc.run(["pkg-config", "--variable=libvirt_api", "libvirt"]).strip())
    return etree.RelaxNG(etree.parse(api.parents[1] / "schemas" / "domain.rng"))


@accelerators
@profiles
def test_golden(accelerator: Accelerator, profile: Profile) -> None:
    golden = DATA / f"{profile.name}-{accelerator.name}.xml"
    assert domain_xml(machine(accelerator, profile)) == golden.read_text()


@accelerators
@profiles
@pytest.mark.parametrize("cpuset", [(), (1,), (0, 1)])
def test_libvirt_schema_accepts_it(
    accelerator: Accelerator, profile: Profile, cpuset: tuple[int, ...], schema: etree.RelaxNG
) -> None:
    document = etree.fromstring(domain_xml(replace(machine(accelerator, profile), cpuset=cpuset)).encode())
    assert schema.validate(document), schema.error_log


@accelerators
@profiles
def test_a_read_only_image_is_a_second_disk(accelerator: Accelerator, profile: Profile, schema: etree.RelaxNG) -> None:
    usual = machine(accelerator, profile)
    layered = replace(usual, boot=replace(usual.boot, lower=Path("/store/vm/disks/sha256-0-erofs/disk.erofs")))
    document = etree.fromstring(domain_xml(layered).encode())
    assert schema.validate(document), schema.error_log
    assert document.xpath("devices/disk/target/@dev") == ["vda", "vdb"]
    assert document.xpath("devices/disk[readonly]/target/@dev") == ["vdb"]
    assert len(document.findall("devices/disk/address")) == 2


@accelerators
@profiles
def test_a_link_is_a_port_of_the_bridge(accelerator: Accelerator, profile: Profile, schema: etree.RelaxNG) -> None:
    link = Link(name="tarev0", bridge=7, address="198.18.0.5", prefix=20, gateway="198.18.0.1")
    linked = replace(machine(accelerator, profile), link=link, bridge="tare-0")
    document = etree.fromstring(domain_xml(linked).encode())
    assert schema.validate(document), schema.error_log
    found = {
        path: document.xpath(f"string(devices/interface/{path})")
        for path in ("@type", "mac/@address", "source/@bridge")
    }
    assert found == {"@type": "bridge", "mac/@address": "02:54:c6:12:00:05", "source/@bridge": "tare-0"}


def test_the_schema_refuses_what_libvirt_does_not_know(schema: etree.RelaxNG) -> None:
    assert not schema.validate(etree.fromstring(domain_xml(machine(TCG)).replace("<acpi />", "<acpy />").encode()))


def test_one_cpu_unless_more_are_given() -> None:
    assert replace(machine(TCG), cpuset=()).vcpus == 1
    assert machine(TCG).vcpus == 2


def test_odd_paths_are_escaped() -> None:
    document = etree.fromstring(domain_xml(replace(machine(TCG), overlay=Path('/a & b/<c>"'))).encode())
    source = document.find("devices/disk/source")
    assert source is not None and source.get("file") == '/a & b/<c>"'


def test_a_clock_rate_is_told_where_it_is_known() -> None:
    assert "tsc_early_khz=2000000" in kernel.command_line(2_000_000).split()
    assert "tsc_early_khz=" not in kernel.command_line(None)


def test_the_clock_rate_is_the_hosts() -> None:
    rate_khz = tsc.host_khz.__wrapped__()
    assert rate_khz == pytest.approx(tsc.host_khz(), rel=1e-4)
    assert 500_000 < rate_khz < 10_000_000

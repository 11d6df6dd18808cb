"""What our domains ask for is what libvirt says it can give on this host, under KVM as under emulation."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from harness import marks
from harness.contract import Workspace
from runtimes.vm import connection
from runtimes.vm.connection import Connection
from runtimes.vm.domain import TCG, Accelerator, domain_xml
from runtimes.vm.profiles import DIRECT, Profile
from tests.runtimes.test_vm_domain import accelerators, machine, profiles

pytestmark = [pytest.mark.machine, pytest.mark.slow]

OFFERED = (
    ("os/loader", "type", "os/loader/enum[@name='type']/value"),
    ("memoryBacking/source", "type", "memoryBacking/enum[@name='sourceType']/value"),
    ("devices/disk", "device", "devices/disk/enum[@name='diskDevice']/value"),
    ("devices/disk/target", "bus", "devices/disk/enum[@name='bus']/value"),
    ("devices/channel", "type", "devices/channel/enum[@name='type']/value"),
)
"""What an element of the domain asks for by that attribute, and where the capabilities list what there is."""


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    store = tmp_path_factory.mktemp("home")
    with marks.claimed(marks.new_id()) as mark:
        opened = connection.open_connection(Workspace(store=store, scratch=store / "scratch", mark=mark))
        yield opened
        opened.close()


def capabilities(link: Connection, domain: Element) -> Element:
    """Of the machine and the accelerator that the domain names."""
    described = domain.find("os/type")
    assert described is not None
    asked = (str(connection.find_emulator()), "x86_64", described.get("machine"), domain.get("type"))
    return ElementTree.fromstring(link.handle.getDomainCapabilities(*asked))


@accelerators
@profiles
def test_libvirt_offers_what_the_domain_asks_for(accelerator: Accelerator, profile: Profile, link: Connection) -> None:
    if accelerator.name == "kvm" and not connection.KVM_DEVICE.exists():
        pytest.skip("libvirt knows no KVM domains where there is no /dev/kvm")
    domain = ElementTree.fromstring(domain_xml(machine(accelerator, profile)))
    there = capabilities(link, domain)
    assert there.findtext("domain") == domain.get("type")
    for element, attribute, offered in OFFERED:
        wanted = {found.get(attribute) for found in domain.findall(element)}
        assert wanted <= {value.text for value in there.findall(offered)}, element
    cpu = domain.find("cpu")
    assert cpu is not None
    mode = there.find(f"cpu/mode[@name='{cpu.get('mode')}']")
    assert mode is not None and mode.get("supported") == "yes"
    most = there.find("vcpu")
    assert most is not None and int(most.get("max", 0)) >= int(domain.findtext("vcpu", "0"))


def test_what_is_not_offered_is_noticed(link: Connection) -> None:
    domain = ElementTree.fromstring(domain_xml(machine(TCG, DIRECT)))
    target = domain.find("devices/disk/target")
    assert target is not None
    target.set("bus", "ide")  # a q35 has none
    offered = {value.text for value in capabilities(link, domain).findall("devices/disk/enum[@name='bus']/value")}
    assert "ide" not in offered and "virtio" in offered

"""Boxes speak to each other, to the host and, when asked, to the world; afterwards the host is as it was."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest

from harness import marks
from harness.cgroups import leftovers
from harness.contract import Instance, Workspace
from harness.errors import TrialFailed, Unsupported
from harness.model import Image, Spec
from runtimes.bridge import bridges
from runtimes.bridge.bridges import PREFIX
from runtimes.bridge.worker import POOLS, free_subnet
from runtimes.container import etc
from runtimes.container.driver import ContainerRuntime

pytestmark = pytest.mark.machine

SpecFactory = Callable[..., Spec]
SETTLE_S = 10.0

HARNESS = """
import sys
from pathlib import Path
import msgspec
from harness.contract import Workspace
from harness.model import Image, Spec
from runtimes.container.driver import ContainerRuntime

image, scratch, mark, network = sys.argv[1:]
runtime = ContainerRuntime(Workspace(store=Path(scratch), scratch=Path(scratch), mark=mark))
prepared = runtime.prepare(msgspec.json.decode(image, type=Image))
with runtime.start(Spec(name=f"{mark}-{Path(scratch).name}", prepared=prepared, network=network)) as box:
    box.wait_ready(10)
    print("ready", flush=True)
    for line in sys.stdin:
        print(box.run(["sh", "-c", line], 20).stdout.decode().strip(), flush=True)
runtime.close()
print("closed", flush=True)
sys.stdin.close()
"""


CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Host:
    """All of a host's network that a bridge could change."""

    links: str
    addresses: str
    routes: str
    rules: str
    tables: str
    forwarding: str

    @classmethod
    def now(cls) -> Host:
        switches = "grep -s . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding; true"
        return cls(
            links=said("ip", "-o", "link"),
            addresses=said("ip", "-o", "address"),
            routes=said("ip", "-4", "route", "show", "table", "all"),
            rules=said("ip", "rule"),
            tables=said("nft", "list", "ruleset"),
            forwarding=said("sh", "-c", switches),
        )


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def await_host(before: Host) -> None:
    """The kernel takes links of dead namespaces away a moment later."""
    give_up = time.monotonic() + SETTLE_S
    while (now := Host.now()) != before and time.monotonic() < give_up:
        time.sleep(0.02)
    assert now == before


@pytest.fixture(autouse=True)
def host() -> Iterator[Host]:
    """A host of our own, with a loopback and nothing else: what is made and taken away on it is made by the test."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert _libc.unshare(CLONE_NEWNET) == 0
    try:
        said("ip", "link", "set", "lo", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")  # whatever a new namespace takes from the machine
        before = Host.now()
        yield before
        await_host(before)
    finally:
        assert _libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


@pytest.fixture
def runtime(host: Host, workspace: Workspace) -> Iterator[ContainerRuntime]:
    """Made and closed on that host."""
    runtime = ContainerRuntime(workspace)
    if not (support := runtime.probe()).available:
        pytest.skip(support.reason)
    yield runtime
    runtime.close()


@pytest.fixture
def victim_mark() -> Iterator[str]:
    with marks.claimed(marks.new_id()) as mark:
        yield mark
        for cgroup in leftovers(mark).values():
            cgroup.remove()


def shell(instance: Instance, command: str) -> str:
    done = instance.run(["sh", "-c", command], timeout_s=20)
    assert done.exit_code == 0, (done.stdout, done.stderr)
    return done.stdout.decode().strip()


def serve(instance: Instance, text: str) -> None:
    shell(instance, f"mkdir /tmp/www; echo {text} >/tmp/www/index.html; httpd -p 8080 -h /tmp/www")


def listen(instance: Instance) -> None:
    """Somebody who says "heard" to the first who comes to port 9."""
    shell(
        instance, "(echo heard | nc -l -p 9 >/dev/null 2>&1 &); until netstat -ltn | grep -q :9; do usleep 9000; done"
    )


def fetch(address: str, port: int = 8080) -> str:
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def test_none_is_an_empty_namespace_and_loopback_is_up_only_when_asked(
    runtime: ContainerRuntime, box: SpecFactory
) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        assert instance.address is None
        assert shell(instance, "ip -o link | wc -l; ip -o addr") == "1"
    with runtime.start(box(network="loopback")) as instance:
        instance.wait_ready(10)
        assert instance.address is None
        assert "127.0.0.1/8" in shell(instance, "ip -o addr show lo")
        assert shell(instance, "ip -o link | wc -l") == "1"


def test_host_is_the_hosts_own(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box(network="host")) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        assert Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
        assert instance.address == "127.0.0.1"
        assert shell(instance, "ip -o link").split()[1] == "lo:"


def test_boxes_on_a_bridge_reach_each_other_and_the_host_reaches_them(
    runtime: ContainerRuntime, box: SpecFactory
) -> None:
    with runtime.start(box(network="bridge")) as first, runtime.start(box(network="bridge")) as second:
        for instance in (first, second):
            instance.wait_ready(10)
        assert first.address and second.address and first.address != second.address
        serve(first, "spoken")
        listen(first)
        assert shell(second, f"nc -w 5 {first.address} 9 </dev/null") == "heard"
        assert shell(second, f"wget -qO- http://{first.address}:8080/") == "spoken"
        assert "spoken" in fetch(first.address)
        gateway = shell(second, "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'")
        with socket.create_server((gateway, 0)) as server:
            server.settimeout(10)
            shell(second, f"nc -w 5 {gateway} {server.getsockname()[1]} </dev/null & sleep 0")
            asking, (who, _) = server.accept()
            asking.close()
        assert who == second.address
        assert shell(second, "ip -o -4 addr show eth0 | awk '{print $4}'") == f"{second.address}/{PREFIX}"


def test_its_own_names_are_in_its_etc_and_the_rest_is_the_images(
    runtime: ContainerRuntime, box: SpecFactory, image: Image
) -> None:
    with runtime.start(box(network="bridge")) as instance:
        instance.wait_ready(10)
        assert shell(instance, "cat /etc/hostname") == instance.name
        assert f"{instance.address} {instance.name}" in shell(instance, "cat /etc/hosts")
        assert shell(instance, "cat /etc/resolv.conf") == ""
        assert shell(instance, "cat /etc/passwd") == Path(image.root, "etc/passwd").read_text().strip()
        assert shell(instance, "stat -c %a /etc") == "755"
    assert Path(image.root, "etc/hosts").read_text() == "127.0.0.1 localhost\n"


def test_an_image_whose_etc_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    lower, upper, outside = tmp_path / "lower", tmp_path / "upper", tmp_path / "outside"
    for folder in (lower, upper, outside):
        folder.mkdir()
    (lower / "etc").symlink_to(outside)
    etc.write(upper, lower, "box", "loopback", None)
    assert sorted(path.name for path in (upper / "etc").iterdir()) == ["hostname", "hosts", "resolv.conf"]
    assert list(outside.iterdir()) == []


def test_resolvers_are_the_hosts_as_far_as_a_box_can_reach_them(tmp_path: Path) -> None:
    said = tmp_path / "resolv.conf"
    said.write_text("search example.test\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n")
    assert etc.resolvers(said, "bridge") == ""
    assert etc.resolvers(said, "nat") == "search example.test\nnameserver 192.0.2.53\n"
    assert etc.resolvers(said, "host") == said.read_text()
    assert etc.resolvers(tmp_path / "nothing", "host") == ""


def test_the_bridge_goes_with_the_run_and_the_links_with_their_boxes(
    runtime: ContainerRuntime, box: SpecFactory, host: Host
) -> None:
    with runtime.start(box(network="bridge")) as instance:
        instance.wait_ready(10)
        assert bridges.port_of(instance.name) in Host.now().links
    with_bridge = Host.now().links
    assert bridges.name_of(instance.name.rpartition("-")[0]) in with_bridge
    runtime.close()
    await_host(host)
    with runtime.start(box(network="bridge")) as instance:  # and is made anew
        instance.wait_ready(10)


def test_the_first_packet_is_not_lost(runtime: ContainerRuntime, box: SpecFactory) -> None:
    """A lost one costs a second or more: the kernel asks for an address, or connects, again only then."""
    for _ in range(25):
        with runtime.start(box(network="bridge")) as instance:
            instance.wait_ready(10)
            assert instance.address
            began_s = time.monotonic()
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((instance.address, 9), timeout=5).close()
            assert time.monotonic() - began_s < 0.9


def test_thirty_two_at_once_have_addresses_of_their_own(
    runtime: ContainerRuntime, box: SpecFactory, host: Host
) -> None:
    with ExitStack() as stack:
        boxes = [stack.enter_context(runtime.start(box(network="bridge"))) for _ in range(32)]
        for instance in boxes:
            instance.wait_ready(30)
        addresses = [instance.address for instance in boxes]
        assert len(set(addresses)) == 32
        assert None not in addresses
        for instance in boxes:
            serve(instance, instance.name)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(fetch, (str(address) for address in addresses)))
        assert all(instance.name in answer for instance, answer in zip(boxes, answers, strict=True))
    runtime.close()
    await_host(host)


def test_a_start_that_fails_gives_its_address_back(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace, tmp_path: Path, image: Image
) -> None:
    with runtime.start(box(network="bridge")):
        pass
    spec = box(network="bridge")
    broken = msgspec.structs.replace(
        spec.prepared, image=msgspec.structs.replace(image, root=str(tmp_path / "nowhere"))
    )
    with pytest.raises(TrialFailed), runtime.start(msgspec.structs.replace(spec, prepared=broken)):
        pass
    folder = bridges.folder_of(bridges.name_of(workspace.mark))
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "mark", "namespace"]


def test_a_full_bridge_says_so(tmp_path: Path, victim_mark: str) -> None:
    bridge = bridges.name_of(victim_mark)
    with bridges.changing():
        hold = bridges.Hold(bridge, victim_mark)
    number = int(IPv4Address("198.18.0.9"))
    with (
        bridges.leased(bridge, "one", iter([number])) as address,
        pytest.raises(Unsupported, match="every address"),
        bridges.leased(bridge, "two", iter([number])),
    ):
        pass
    assert address == "198.18.0.9"
    with bridges.changing():
        hold.close()


def test_two_processes_of_one_mark_share_the_bridge_and_the_last_takes_it_away(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace, tmp_path: Path, host: Host
) -> None:
    other_space = Workspace(store=workspace.store, scratch=tmp_path / "other", mark=workspace.mark)
    other = ContainerRuntime(other_space)
    with runtime.start(box(network="bridge")) as first, other.start(box(network="bridge")) as second:
        first.wait_ready(10)
        second.wait_ready(10)
        listen(first)
        assert shell(second, f"nc -w 5 {first.address} 9 </dev/null") == "heard"
    runtime.close()
    assert bridges.name_of(workspace.mark) in Host.now().links
    other.close()
    await_host(host)


def harness(image: Image, scratch: Path, mark: str, network: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HARNESS, msgspec.json.encode(image).decode(), str(scratch), mark, network]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(process: subprocess.Popen[str], command: str) -> str:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(command + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    assert process.stdout.read() == "closed\n"
    process.stdout.close()
    assert process.wait(20) == 0


def worker_of(mark: str) -> int:
    (pid,) = (
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (words := _words(path)) and words[-1:] == [mark] and "runtimes.bridge.worker" in words[3]
    )
    return pid


def _words(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().rstrip("\0").split("\0")
    return []


def test_eight_processes_at_once_share_one_bridge(image: Image, tmp_path: Path, victim_mark: str, host: Host) -> None:
    with ThreadPoolExecutor(8) as pool, ExitStack() as stack:
        many = list(pool.map(lambda n: harness(image, tmp_path / f"p{n}", victim_mark, "bridge"), range(8)))
        for one in many:
            stack.enter_context(one)
        addresses = [ask(one, "ip -o -4 addr show eth0 | awk '{print $4}'") for one in many]
        assert len(set(addresses)) == 8
        links = Host.now().links
        assert links.count(f": {bridges.name_of(victim_mark)}:") == 1
        for one in many:
            finish(one)
    await_host(host)


def test_a_killed_harness_leaves_no_bridge(image: Image, tmp_path: Path, victim_mark: str, host: Host) -> None:
    with harness(image, tmp_path / "a", victim_mark, "bridge") as victim:
        assert bridges.name_of(victim_mark) in Host.now().links
        victim.kill()
    await_host(host)


def test_what_a_killed_worker_leaves_is_swept_and_look_alikes_are_spared(
    runtime: ContainerRuntime, image: Image, tmp_path: Path, victim_mark: str, host: Host
) -> None:
    foreign = "tare-0badcafe"
    subprocess.run(["ip", "link", "add", foreign, "type", "bridge"], check=True)
    try:
        with harness(image, tmp_path / "a", victim_mark, "bridge") as victim:
            os.kill(worker_of(victim_mark), signal.SIGKILL)
            victim.kill()
        bridge = bridges.name_of(victim_mark)
        assert bridge in Host.now().links
        said = runtime.sweep(lambda name: not name.startswith(victim_mark))
        assert f"removed bridge {bridge}" in said
        links = Host.now().links
        assert bridge not in links and foreign in links
    finally:
        subprocess.run(["ip", "link", "delete", foreign], check=True)


def test_sweep_spares_a_bridge_in_use_and_gives_back_what_dead_boxes_had(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace
) -> None:
    with runtime.start(box(network="bridge")) as instance:
        instance.wait_ready(10)
        lease = bridges.folder_of(bridges.name_of(workspace.mark)) / "198.18.99.99"
        lease.write_text("tare-dead-1")
        assert runtime.sweep(lambda name: name != "tare-dead-1") == ["gave back address 198.18.99.99 of tare-dead-1"]
        assert bridges.name_of(workspace.mark) in Host.now().links
        assert instance.address


WORLD = "203.0.113.2"
WHO_ASKS = f"busybox netstat -tn | grep {WORLD}:80"
ASK_WORLD = f"nc -w 3 {WORLD} 80 </dev/null"


@pytest.fixture
def world(host: Host) -> Iterator[Host]:
    """A link to another host, where somebody answers with the address of who asked. Yields ours with that link."""
    with ExitStack() as stack:
        keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo in; exec sleep 1000"], stdout=subprocess.PIPE)
        stack.callback(keeper.communicate)
        stack.callback(keeper.kill)
        assert keeper.stdout is not None and keeper.stdout.readline() == b"in\n"
        there = ("nsenter", "-t", str(keeper.pid), "-n")
        said("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(keeper.pid))
        stack.callback(said, "ip", "link", "delete", "up0")
        for where, link, address in (((), "up0", "203.0.113.1/24"), (there, "down0", f"{WORLD}/24")):
            said(*where, "ip", "address", "add", address, "dev", link)
            said(*where, "ip", "link", "set", link, "up")
        answer = subprocess.Popen([*there, "busybox", "nc", "-ll", "-p", "80", "-e", "sh", "-c", WHO_ASKS])
        stack.callback(answer.wait)
        stack.callback(answer.kill)
        said("sh", "-c", "until ip -6 -o address show dev up0 | grep -qv tentative; do sleep 0.1; done")
        yield Host.now()


@pytest.mark.slow
def test_nat_leads_to_the_world_and_is_undone(image: Image, tmp_path: Path, victim_mark: str, world: Host) -> None:
    assert "ip_forward:0" in world.forwarding
    with harness(image, tmp_path / "a", victim_mark, "bridge") as closed_in:
        assert ask(closed_in, ASK_WORLD) == ""
        assert "ip_forward:0" in Host.now().forwarding
        finish(closed_in)
    await_host(world)
    with harness(image, tmp_path / "b", victim_mark, "nat") as open_out:
        assert ":203.0.113.1:" in ask(open_out, ASK_WORLD)
        now = Host.now()
        assert f"table ip {bridges.table_of(bridges.name_of(victim_mark))}" in now.tables
        assert "ip_forward:1" in now.forwarding
        finish(open_out)
    await_host(world)


def test_forwarding_that_was_on_already_stays_on(image: Image, tmp_path: Path, victim_mark: str, host: Host) -> None:
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    switch.write_text("1")
    with harness(image, tmp_path / "a", victim_mark, "nat") as one:
        finish(one)
    assert switch.read_text() == "1\n"
    switch.write_text("0")


def test_nat_of_a_killed_harness_is_undone_and_of_a_killed_worker_swept(
    image: Image, tmp_path: Path, victim_mark: str, world: Host
) -> None:
    Path("/proc/sys/net/ipv4/conf/up0/forwarding").write_text("1")  # the owner's own choice
    before = Host.now()
    with harness(image, tmp_path / "a", victim_mark, "nat") as victim:
        victim.kill()
    await_host(before)
    with harness(image, tmp_path / "b", victim_mark, "nat") as victim:
        os.kill(worker_of(victim_mark), signal.SIGKILL)
        victim.kill()
    assert "ip_forward:1" in Host.now().forwarding
    assert list(bridges.sweep(lambda name: False)) == [f"removed bridge {bridges.name_of(victim_mark)}"]
    await_host(before)


def test_a_subnet_is_chosen_that_the_host_knows_nothing_of() -> None:
    first = free_subnet([])
    assert first == IPv4Network("198.18.0.0/20")
    assert free_subnet([first]) == IPv4Network("198.18.16.0/20")
    assert free_subnet([IPv4Network("198.18.17.0/30"), first]) == IPv4Network("198.18.32.0/20")
    assert free_subnet([POOLS[0]]) == IPv4Network("172.16.0.0/20")
    with pytest.raises(Unsupported, match="no free IPv4 network"):
        free_subnet(POOLS)

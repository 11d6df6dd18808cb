"""A container starts, is one, does as it is told, and says clearly when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness import cgroups
from harness.contract import Completed, Instance, Workspace
from harness.errors import TrialFailed, Unsupported
from harness.model import Feature, Image, Role, Spec
from runtimes.container import masks
from runtimes.container.driver import ContainerRuntime
from runtimes.container.planning import Command

pytestmark = pytest.mark.machine

SpecFactory = Callable[..., Spec]


def shell(instance: Instance, command: str) -> str:
    done = instance.run(["sh", "-c", command], timeout_s=10)
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode().strip()


def namespace(pid: int | str, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def test_probe_tells_what_the_host_has(runtime: ContainerRuntime, workspace: Workspace) -> None:
    support = runtime.probe()
    assert support.available and not support.emulated
    assert set(support.features) == {Feature.EXEC, Feature.LIMITS, Feature.NETWORK, Feature.PAUSE}
    assert support.facts["cgroup mode"] in ("v1", "v2", "hybrid")
    assert list(workspace.scratch.iterdir()) == []


def test_what_is_shipped_is_the_tree_and_its_layers(runtime: ContainerRuntime, image: Image) -> None:
    root, *layers = runtime.prepare(image).artifacts
    assert (root.role, root.path, root.compressed) == (Role.ROOT, image.root, False)
    assert [layer.path for layer in layers] == [layer.path for layer in image.layers]
    assert all(layer.role is Role.LAYER and layer.compressed for layer in layers)


def test_ready_then_runs_commands(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        done = instance.run(["sh", "-c", "printf out; printf err >&2; exit 7"], timeout_s=10)
        assert done == Completed(7, b"out", b"err")
        assert instance.run(["no-such-program"], timeout_s=10).exit_code == 127
        assert shell(instance, "echo $PATH:$HOME:$TARE_TMP").endswith(":/.tare:/:/tmp")


def test_the_stages_of_a_start_follow_each_other(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        assert [phase.name for phase in instance.phases()] == ["create", "spawn"]
        instance.wait_ready(10)
        phases = instance.phases()
    assert [phase.name for phase in phases] == ["create", "spawn", "userspace"]
    instants = [phases[0].began_s, *(phase.ended_s for phase in phases)]
    assert instants == sorted(instants)
    assert [phase.began_s for phase in phases] == instants[:-1]


def test_it_is_alone_in_namespaces_of_its_own(runtime: ContainerRuntime, box: SpecFactory) -> None:
    spec = box(network="loopback")
    with runtime.start(spec) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        for kind in ("mnt", "pid", "ipc", "uts", "net", "cgroup"):
            assert namespace(pid, kind) != namespace("self", kind), kind
        assert shell(instance, "hostname") == spec.name
        assert shell(instance, "cat /proc/1/cmdline | tr '\\0' ' '") == "/.tare/busybox sh /.tare/agent"
        assert shell(instance, "ls /proc | grep -c '^[0-9]'") in ("3", "4", "5")  # the agent, sh, ls, grep
        assert shell(instance, "cut -d: -f3 /proc/self/cgroup | sort -u") == "/"
        assert shell(instance, "ls /sys/class/net") == "lo"
        heard = shell(instance, "(echo heard | nc -l -p 9 >/dev/null &); until nc 127.0.0.1 9 </dev/null; do :; done")
        assert heard == "heard"


def test_it_sees_its_own_mounts_and_nothing_of_the_host(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        mounts = dict(line.split()[1:3] for line in shell(instance, "cat /proc/mounts").splitlines())
        hidden = {path: mounts.pop(path) for path in list(mounts) if path in (*masks.FOLDERS, *masks.FILES)}
        assert hidden == {
            path: kind
            for kind, paths in (("sysfs", masks.FOLDERS), ("tmpfs", masks.FILES))
            for path in paths
            if Path(path).exists()
        }
        kept = {path: mounts.pop(path) for path in list(mounts) if path in masks.UNCHANGEABLE}
        assert kept == {path: "proc" for path in masks.UNCHANGEABLE if Path(path).exists()}
        view = {"/sys/fs/cgroup": "cgroup2"} if cgroups.UNIFIED in instance.cgroup.paths else {}
        assert mounts == view | {
            "/": "overlay",
            "/proc": "proc",
            "/sys": "sysfs",
            "/dev": "tmpfs",
            "/dev/pts": "devpts",
            "/dev/shm": "tmpfs",
        }
        assert instance.documents()["mounts"].count("\n") == len(mounts) + len(hidden) + len(kept)
        assert instance.run(["touch", "/sys/kernel/x"], timeout_s=10).exit_code != 0
        assert instance.run(["test", "-e", str(Path(__file__))], timeout_s=10).exit_code == 1


def test_it_has_the_devices_every_program_expects(runtime: ContainerRuntime, box: SpecFactory) -> None:
    names = {
        "fd",
        "full",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    }
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        assert set(shell(instance, "ls /dev").split()) == names
        assert shell(instance, "head -c 8 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c").split() == ["8", "8"]
        assert shell(instance, "echo lost >/dev/null; echo x >/dev/shm/x; cat /dev/shm/x") == "x"
        assert instance.run(["sh", "-c", "echo >/dev/full"], timeout_s=10).exit_code != 0


def test_no_descriptor_or_signal_state_of_ours_gets_in(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        assert sorted(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir() if int(path.name) < 10) == [0, 1, 2]
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ignored = int(status["SigIgn"], 16)
        assert int(status["SigBlk"], 16) == 0
        assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1 | 1 << signal.SIGINT - 1)
        assert os.getsid(pid) != os.getsid(0)


def test_no_descriptor_of_a_box_gets_into_other_programs(runtime: ContainerRuntime, box: SpecFactory) -> None:
    def inherited() -> str:
        return subprocess.run(
            ["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=False, check=True
        ).stdout

    before = inherited()
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        assert inherited() == before


def test_what_it_writes_is_its_own(runtime: ContainerRuntime, box: SpecFactory, image: Image) -> None:
    with runtime.start(box()) as first, runtime.start(box()) as second:
        first.wait_ready(10)
        second.wait_ready(10)
        shell(first, "echo mine >/tmp/x; rm -r /etc; sync")
        assert shell(second, "test ! -e /tmp/x && test -d /etc && echo untouched") == "untouched"
        (upper,) = first.disk_paths
        assert (upper / "tmp" / "x").read_text() == "mine\n"
        assert first.pids().isdisjoint(second.pids())
    assert Path(image.root, "etc").is_dir()


def test_an_image_without_mount_points_gets_them(
    runtime: ContainerRuntime, box: SpecFactory, image: Image, tmp_path: Path
) -> None:
    (tmp_path / "root" / ".tare").mkdir(parents=True)
    for name in ("busybox", "agent"):
        os.link(Path(image.root, ".tare", name), tmp_path / "root" / ".tare" / name)
    bare = msgspec.structs.replace(image, root=str(tmp_path / "root"))
    with runtime.start(box(prepared=runtime.prepare(bare))) as instance:
        instance.wait_ready(10)
        assert shell(instance, "cat /proc/1/comm; stat -c %a /tmp").split() == ["busybox", "1777"]


def test_links_in_an_image_lead_nowhere_but_into_it(
    runtime: ContainerRuntime, box: SpecFactory, image: Image, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    (root / ".tare").mkdir(parents=True)
    for name in ("busybox", "agent"):
        os.link(Path(image.root, ".tare", name), root / ".tare" / name)
    for name in ("dev", "proc", "sys"):
        (root / name).symlink_to("../../../../../.." + str(outside))
    spec = box(prepared=runtime.prepare(msgspec.structs.replace(image, root=str(root))))
    with pytest.raises(TrialFailed, match="could not mount /proc and /sys"), runtime.start(spec):
        pass
    assert list(outside.iterdir()) == []


def test_a_missing_image_is_said_before_and_at_the_start(
    runtime: ContainerRuntime, box: SpecFactory, image: Image
) -> None:
    gone = msgspec.structs.replace(image, root="/nowhere")
    with pytest.raises(TrialFailed, match="no unpacked tree at /nowhere"):
        runtime.prepare(gone)
    spec = box()
    broken = msgspec.structs.replace(spec, prepared=msgspec.structs.replace(spec.prepared, image=gone))
    with pytest.raises(TrialFailed, match=f"{spec.name} could not mount its root: .*nowhere"), runtime.start(broken):
        pass


def test_an_image_without_the_agent_says_what_could_not_run(
    runtime: ContainerRuntime, box: SpecFactory, image: Image, tmp_path: Path
) -> None:
    empty = msgspec.structs.replace(image, root=str(tmp_path))
    spec = box(prepared=runtime.prepare(empty))
    with pytest.raises(TrialFailed, match=r"could not execute /\.tare/busybox: No such file"), runtime.start(spec):
        pass


def test_a_network_it_does_not_have_is_refused(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with pytest.raises(Unsupported, match="no network of the kind 'vlan'"), runtime.start(box(network="vlan")):
        pass


def test_a_box_killed_from_outside_fails_the_trial(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TrialFailed, match="ended unexpectedly") as caught:
            instance.run(["true"], timeout_s=10)
        assert "killed by signal 9" in caught.value.log


def test_what_the_box_printed_goes_with_the_error(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        Path(f"/proc/{pid}/fd/2").write_text("goodbye\n")
        instance.stop()
        with pytest.raises(TrialFailed) as caught:
            instance.run(["true"], timeout_s=10)
        assert caught.value.log == "goodbye\nit was killed by signal 9"


def test_stop_ends_it_and_is_harmless_twice(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        instance.stop()
        instance.stop()
        assert instance.pids() == frozenset()
        with pytest.raises(TrialFailed):
            instance.run(["true"], timeout_s=10)


def test_a_paused_box_does_nothing_until_it_is_resumed(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        instance.pause()
        before_s = instance.cgroup.cpu_s()
        with pytest.raises(TrialFailed, match="did not"):
            instance.run(["true"], timeout_s=0.2)
        assert instance.cgroup.cpu_s() == before_s
        instance.resume()
        instance.pause()
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        instance.pause()
        instance.resume()
        assert shell(instance, "echo back") == "back"


@pytest.mark.parametrize(
    "command",
    [
        Command(("/bin/echo", "\ud800"), ()),
        Command(("/bin/echo", "a\0b"), ()),
        Command(("/bin/true",), (("A", "v\0w"),)),
        Command(("/bin/true",), (), user=(1 << 32, 1 << 32)),
        Command(("/bin/true", "x" * 70_000), ()),
    ],
    ids=["surrogate", "null in a word", "null in the environment", "user", "too long"],
)
def test_what_the_kernel_cannot_be_told_costs_one_box_only(
    runtime: ContainerRuntime, box: SpecFactory, command: Command
) -> None:
    with runtime.start(box()) as other:
        other.wait_ready(10)
        with (
            Path("/dev/null").open("r+b") as null,
            pytest.raises(TrialFailed) as caught,
            runtime.execute(box(), command, (null.fileno(),) * 3),
        ):
            pass
        assert "the zygote is gone" not in caught.value.message
        assert shell(other, "echo alive") == "alive"


def test_a_mount_target_of_any_bytes(runtime: ContainerRuntime, box: SpecFactory, tmp_path: Path) -> None:
    mounts = (("/etc/hostname", "/m\udce9", True),)
    with (tmp_path / "said").open("w+b") as said:
        command = Command(("/bin/sh", "-c", "echo /m*"), (("PATH", "/bin"),), mounts=mounts)
        with runtime.execute(box(), command, (said.fileno(),) * 3) as made:
            made.process.ended(10)
        said.seek(0)
        assert said.read() == b"/m\xe9\n"

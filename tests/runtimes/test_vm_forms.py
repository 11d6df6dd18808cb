"""The same image as disks of different forms, each booted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from harness import agent, images, kernels, marks, proc
from harness.contract import Checkpointable, Runtime, Workspace
from harness.errors import UsageError
from harness.model import Artifact, Prepared, Role, Spec
from runtimes.vm import driver, forms
from runtimes.vm.driver import VmRuntime
from runtimes.vm.profiles import DIRECT, FULL
from scenarios import gauges

pytestmark = [pytest.mark.machine, pytest.mark.slow]

READY_S = 60.0
RUN_S = 30.0
LIST = """
cd / || exit
find . -xdev ! -type d ! -path './tmp/*' -exec stat -c '%n %f %u %g %s %Y' {} +
find . -xdev -type d ! -name lost+found -exec stat -c '%n %f %u %g' {} +
find . -xdev ! -type d -exec stat -c 'device %d' {} + | sort -u | wc -l
"""
"""What each file and folder is, and of files size and time. What the guest mounts is on other devices; the agent keeps
what commands say in /tmp; and lost+found is ext4's own."""

Open = Callable[..., VmRuntime]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def mark() -> Iterator[str]:
    """Claimed like a run's, so that a sweep elsewhere on this host lets these boxes live."""
    with marks.claimed(marks.new_id()) as mark:
        yield mark


@pytest.fixture
def opened(home: Path, mark: str) -> Iterator[Open]:
    """Makes runtimes with that form of disk."""
    with ExitStack() as stack:

        def made(form: str, factory: Callable[[Workspace], VmRuntime] = driver.tcg) -> VmRuntime:
            runtime = factory(Workspace(store=home, scratch=home / "scratch" / form, mark=mark, options={"disk": form}))
            stack.callback(runtime.close)
            return runtime

        yield made


def prepared(runtime: Runtime, home: Path) -> Prepared:
    return runtime.prepare(images.build_tiny(home, kernels.provide(home)))


def root(made: Prepared) -> Artifact:
    return next(one for one in made.artifacts if one.role is Role.ROOT)


@pytest.mark.parametrize("factory", [driver.tcg, driver.tcg_micro], ids=["direct", "micro"])
def test_each_form_holds_the_same_files_and_takes_writes_on_its_disk(
    factory: Callable[[Workspace], VmRuntime], opened: Open, home: Path, mark: str
) -> None:
    listings = {}
    for form in forms.FORMS:
        runtime = opened(form.name, factory)
        spec = Spec(name=f"{mark}-{form.name}", prepared=prepared(runtime, home))
        with runtime.start(spec) as box:
            box.wait_ready(READY_S)
            listings[form.name] = set(box.run(["sh", "-c", LIST], RUN_S).stdout.decode().splitlines())
            checked = box.run(["sh", "-c", f"cd / && sha256sum -c {agent.MANIFEST}"], RUN_S)
            assert checked.exit_code == 0, checked.stderr
            (overlay,) = box.disk_paths
            before = gauges.allocated_bytes(overlay)
            written = box.run(
                ["sh", "-c", "dd if=/dev/urandom of=/file bs=1M count=8 && echo x >>/etc/hosts && sync"], RUN_S
            )
            assert written.exit_code == 0, written.stderr
            assert gauges.allocated_bytes(overlay) - before >= 8 << 20, "writes are the disk's, not the memory's"
    assert len(listings["ext4"]) > 100
    assert listings["qcow2"] ^ listings["ext4"] == set()
    assert listings["erofs"] ^ listings["ext4"] == set()


def test_a_form_is_made_once_and_weighs_what_it_should(opened: Open, home: Path) -> None:
    made = {form.name: root(prepared(opened(form.name), home)) for form in forms.FORMS}
    again = {form.name: root(prepared(opened(form.name), home)) for form in forms.FORMS}
    assert made == again
    assert len({artifact.path for artifact in made.values()}) == len(forms.FORMS)
    assert made["ext4"].virtual_bytes == made["qcow2"].virtual_bytes
    allocated = {name: gauges.allocated_bytes(Path(artifact.path)) for name, artifact in made.items()}
    assert allocated["qcow2"] < allocated["ext4"]
    assert allocated["erofs"] < allocated["ext4"]
    proc.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", made["ext4"].path, made["qcow2"].path])
    proc.run(["fsck.erofs", made["erofs"].path])


@pytest.mark.parametrize("form", ["erofs", "qcow2"])
def test_a_checkpoint_is_brought_back(form: str, opened: Open, home: Path, mark: str, tmp_path: Path) -> None:
    runtime = opened(form)
    made = prepared(runtime, home)
    with runtime.start(Spec(name=f"{mark}-1", prepared=made)) as box:
        box.wait_ready(READY_S)
        box.run(["sh", "-c", "echo kept >/note"], RUN_S)
        cast(Checkpointable, box).checkpoint(tmp_path)
    with runtime.restore(Spec(name=f"{mark}-2", prepared=made), tmp_path) as box:
        box.wait_ready(READY_S)
        assert box.run(["cat", "/note"], RUN_S).stdout == b"kept\n"
    other = opened("ext4")
    with (
        pytest.raises(UsageError, match="lay on the disk"),
        other.restore(Spec(name=f"{mark}-3", prepared=prepared(other, home)), tmp_path),
    ):
        pass


def test_a_packed_disk_boots_through_its_boot_loader(opened: Open, home: Path, mark: str) -> None:
    runtime = opened("qcow2", driver.tcg_full)
    with runtime.start(Spec(name=f"{mark}-1", prepared=prepared(runtime, home))) as box:
        box.wait_ready(READY_S)
        assert box.run(["true"], RUN_S).exit_code == 0


def test_a_form_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="'vmdk'") as refused:
        forms.chosen("vmdk", DIRECT)
    assert refused.value.hint == "choose of ext4, qcow2, erofs"
    assert "boot loader" not in refused.value.message
    with pytest.raises(UsageError, match="'erofs': its boot loader's disk holds an ext4"):
        forms.chosen("erofs", FULL)


def test_the_root_of_a_layered_box_is_everybodys_to_enter_whatever_our_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        image = images.build_tiny(tmp_path)
        made = forms.root(tmp_path, image, forms.EROFS)
        assert (tmp_path / "vm" / "disks" / "empty").exists(), "made before a box is waited for"
        empty = forms.below(tmp_path, forms.EROFS, made).path
    finally:
        os.umask(before)
    assert "Mode:  0755" in proc.run(["debugfs", "-R", "stat /files", str(empty)])

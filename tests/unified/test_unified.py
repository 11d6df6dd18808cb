"""The container's conformance and escape tests where cgroup v2 is all there is.

No test machine of this project is such a host, so one is booted: the project's own virtual machine with the kernel
told `cgroup_no_v1=all`. Covered: limits, accounting, kill and freeze through v2 files, CLONE_INTO_CGROUP as the only
way in, removal; some 110 attempts to get out, each made outside first, under that kernel; and a part of the tree that a
user was handed. Not covered: systemd's own way of handing it, kernels other than the guest's.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness import images, kernels, marks, paths, registry
from harness.contract import Instance, Workspace
from harness.model import Spec
from tests.escape import programs
from tests.unified import guest

pytestmark = [pytest.mark.machine, pytest.mark.slow]

LIMIT_S = 600.0
TESTS = "tests/conformance tests/escape -k 'container or escape'"
NEEDED = ("unshare", "readelf")
DELEGATE = """
user=/sys/fs/cgroup/user
mkdir -p $user/session && echo '+cpu +memory +pids' >$user/cgroup.subtree_control || exit 1
for folder in $user $user/session; do chown 1000:1000 $folder $folder/cgroup.procs; done
echo $$ >$user/session/cgroup.procs
"""
"""What systemd does for a user's manager."""
HANDED = """
import os
from harness.cgroups import Cgroup, Limits, hierarchies

os.setgroups([])
os.setgid(1000)
os.setuid(1000)
assert hierarchies().permitted
group = Cgroup.create("tare-handed-1", Limits(cpus=0.5, pids=5))
child = os.fork()
if child == 0:
    while True:
        pass
group.join(child)
assert group.pids() == {child}
while group.throttled_s() == 0:
    pass
assert group.cpu_s() > 0
group.kill()
os.waitpid(child, 0)
group.remove()
print(group.paths["unified"])
"""


@contextmanager
def unified_host(home: Path) -> Iterator[Instance]:
    """A machine with cgroup v2 alone, ready to run tests. KVM where it works, else emulation."""
    kernel = kernels.provide(paths.home())
    tiny = images.build_tiny(home)
    tree = home / "guest"
    shutil.copytree(tiny.root, tree, symlinks=True)
    programs.build(home)
    guest.furnish(tree, kernel, [home / "attempts", home / "loader", *map(_program, NEEDED)])
    image = msgspec.structs.replace(tiny, digest="sha256:" + "2" * 64, root=str(tree), kernel=kernel)
    with marks.claimed(marks.new_id()) as mark:
        options = {"append": "cgroup_no_v1=all"}
        workspaces = [
            Workspace(store=home / name, scratch=home / "scratch" / name, mark=mark, options=options)
            for name in ("kvm", "tcg")
        ]
        for workspace in workspaces:
            workspace.scratch.mkdir(parents=True)
        candidates = [registry.runtime(one.store.name, one) for one in workspaces]
        runtime = next(one for one in candidates if one.probe().available)
        try:
            spec = Spec(name=f"{mark}-1", prepared=runtime.prepare(image), memory_bytes=1 << 30)
            with runtime.start(spec) as instance:
                instance.wait_ready(60)
                done = instance.run(["sh", "-c", guest.PREPARE], 60)
                assert done.exit_code == 0, done.stderr.decode()
                yield instance
        finally:
            runtime.close()


def test_the_container_conforms_and_holds_on_a_v2_host(tmp_path: Path) -> None:
    with unified_host(tmp_path) as host:
        mode = "from harness import cgroups; print(cgroups.hierarchies().mode)"
        said = host.run(["sh", "-c", f"cd {guest.ROOT} && {sys.executable} -c '{mode}'"], 60)
        assert said.stdout == b"v2\n", said.stderr.decode()
        handed = host.run(["sh", "-c", f"{DELEGATE} cd {guest.ROOT} && {sys.executable} -c '{HANDED}'"], 120)
        assert handed.stdout == b"/sys/fs/cgroup/user/tare-handed-1\n", handed.stderr.decode()
        script = (
            f"cd {guest.ROOT} && PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {programs.BROUGHT}={guest.PROGRAMS} "
            f"{sys.executable} -m pytest -q -p no:cacheprovider {TESTS}"
        )
        done = host.run(["sh", "-c", script], LIMIT_S)
        summary = done.stdout.decode()
        print(summary)
        assert done.exit_code == 0, summary[-4000:] + done.stderr.decode()[-2000:]
        passed = re.search(r"(\d+) passed", summary)
        assert passed and int(passed[1]) >= 120
        assert "failed" not in summary


def _program(name: str) -> Path:
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return Path(found)

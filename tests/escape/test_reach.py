"""Ways that lead out of a box by no forbidden call: descriptors, sockets, the host's interpreter, sheer numbers."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from harness.contract import Instance, Workspace
from harness.errors import TrialFailed
from harness.model import Image, Spec
from runtimes.container import sealed
from runtimes.container.driver import ContainerRuntime
from tests.escape import programs
from tests.escape.conftest import INSIDE, Attempt

pytestmark = pytest.mark.machine


@pytest.fixture
def abstract_server(workspace: Workspace) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{workspace.mark}")
        server.listen()
        yield workspace.mark


@pytest.fixture
def loopback_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def test_the_hosts_abstract_sockets_are_not_its(abstract_server: str, outside: Attempt, inside: Attempt) -> None:
    assert outside("connect_abstract", abstract_server, network=True) == "ok"
    assert inside("connect_abstract", abstract_server) == "ECONNREFUSED"


def test_the_hosts_loopback_is_not_its(loopback_server: str, outside: Attempt, inside: Attempt) -> None:
    assert outside("connect_loopback", loopback_server, network=True) == "ok"
    assert inside("connect_loopback", loopback_server) == "ECONNREFUSED"


def test_no_open_folder_leads_out(program: Path, inside: Attempt, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        argv = [str(program), "open_folder_descriptor", str(os.getpid())]
        assert subprocess.run(argv, capture_output=True, check=True).stdout == b"ok\n"
    finally:
        os.close(folder)
    assert inside("open_folder_descriptor", "1") == "ENOENT"
    assert inside("open_folder_descriptor", "self") == "ENOENT"


def test_the_root_of_every_process_it_sees_is_its_own(box: Instance) -> None:
    done = box.run(["sh", "-c", "for p in /proc/[0-9]*; do stat -c %d:%i $p/root/ /; done"], timeout_s=10)
    assert len(set(done.stdout.split())) == 1
    assert box.run(["test", "-e", f"/proc/1/root{Path(__file__)}"], timeout_s=10).exit_code == 1


def test_a_set_user_id_program_gives_nothing(program: Path, outside: Attempt, inside: Attempt) -> None:
    assert outside("by_set_user_id", str(program)) == "ok"
    assert inside("by_set_user_id", INSIDE) == "EPERM"


def test_a_flood_of_descriptors_ends_in_the_box(box: Instance, inside: Attempt) -> None:
    assert inside("flood_descriptors") in ("EMFILE", "ENFILE", f"exit {128 + 9}")  # or its memory was not enough
    assert inside("flood_watches") in ("EMFILE", "ENOMEM")
    assert box.run(["echo", "alive"], timeout_s=10).stdout == b"alive\n"


@pytest.fixture
def trap(program: Path, image: Image, tmp_path: Path) -> Image:
    """An image whose first program is whatever starts it, and whose loader is ours."""
    root = tmp_path / "trap"
    shutil.copytree(image.root, root, symlinks=True)
    place = root / loader_of(sys.executable).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    programs.loader(place)
    (root / ".tare/busybox").unlink()
    (root / ".tare/busybox").symlink_to("/proc/self/exe")
    shutil.copy(sys.executable, root / "interpreter")
    return msgspec.structs.replace(image, root=str(root))


def loader_of(program: str) -> str:
    said = subprocess.run(["readelf", "-l", program], capture_output=True, text=True, check=True).stdout
    return said.partition("program interpreter: ")[2].partition("]")[0]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader in C speaks x86_64 only")
def test_the_hosts_interpreter_is_out_of_reach(
    runtime: ContainerRuntime, spec: Callable[[], Spec], trap: Image, tmp_path: Path
) -> None:
    """Outside, the trap sees the interpreter's own file; inside, a sealed copy without a name."""
    (Path(trap.root) / "proc").mkdir(exist_ok=True)
    argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", f"--root={trap.root}", "/interpreter"]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"/interpreter", errno.ETXTBSY)
    hostile = msgspec.structs.replace(spec(), prepared=runtime.prepare(trap))
    with pytest.raises(TrialFailed, match="ended") as caught, runtime.start(hostile) as instance:
        instance.wait_ready(10)
    assert "/memfd:tare-zygote (deleted)" in caught.value.log
    assert "it exited with" in caught.value.log and "it exited with 0" not in caught.value.log


def test_the_copy_of_the_interpreter_cannot_be_changed() -> None:
    with sealed.interpreter() as path:
        assert Path(path).read_bytes() == Path(sys.executable).read_bytes()
        with Path(path).open("r+b", buffering=0) as file:
            with pytest.raises(PermissionError):
                file.write(b"x")
            for size in (0, 1 << 30):
                with pytest.raises(PermissionError):
                    file.truncate(size)
            with pytest.raises(PermissionError):
                fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)

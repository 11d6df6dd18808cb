"""The list of kernel calls a box's first process makes, and both ways of making them."""

from __future__ import annotations

import ctypes.util
import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from harness.cgroups import Cgroup, Limits, leftovers
from harness.contract import Workspace
from harness.errors import TrialFailed
from harness.model import Spec
from runtimes.container import machine, numbers
from runtimes.container.calls import ANY_ERROR, BUFFER, ERROR_MET, REPORT, RESULT, Calls, Place
from runtimes.container.driver import ContainerRuntime
from runtimes.container.machine import Area, Runner
from runtimes.container.plan import Failure

SpecFactory = Callable[..., Spec]
LIBRARY = ctypes.util.find_library("seccomp")
COPIED_BELOW_BYTES = 16 << 20


@pytest.mark.skipif(not shutil.which("as"), reason="no assembler")
def test_the_bytes_are_the_instructions_beside_them(tmp_path: Path) -> None:
    lines = [re.split(r"\s{2,}", line, maxsplit=1)[1].split("#")[0] for line in machine.LISTING.strip().splitlines()]
    source = tmp_path / "loop.s"
    source.write_text(".intel_syntax noprefix\n" + "\n".join(lines) + "\n")
    subprocess.run(["as", "--64", source, "-o", tmp_path / "loop.o"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "loop.o", tmp_path / "loop"], check=True)
    assert (tmp_path / "loop").read_bytes() == machine.instructions()


@pytest.mark.skipif(
    os.uname().machine != "x86_64" or not LIBRARY, reason="the table is x86-64's, the check libseccomp's"
)
def test_the_numbers_are_those_libseccomp_knows() -> None:
    assert numbers.resolved() == numbers.X86_64


def sharing(area: Area) -> tuple[int, int]:
    runner = Runner()
    if not runner.shares:
        pytest.skip("no instructions for this machine")
    pid, pidfd = runner.start(0, None, area)
    os.close(pidfd)
    return os.waitpid(pid, 0)


def copied(area: Area) -> tuple[int, int]:
    pid = os.fork()
    if not pid:
        try:
            area.run()
        finally:
            os._exit(99)
    return os.waitpid(pid, 0)


@pytest.fixture(params=[sharing, copied])
def run(request: pytest.FixtureRequest) -> Callable[[Calls], Failure | int | None]:
    """Runs a list to its end; what failed, or the exit code."""

    def outcome(calls: Calls) -> Failure | int | None:
        area = Area()
        area.load([calls])
        report = os.open("/dev/null", os.O_WRONLY)
        area.put(REPORT, report)
        _, status = request.param(area)
        os.close(report)
        code = os.waitstatus_to_exitcode(status)
        return area.failure() if code == 127 else code

    return outcome


Run = Callable[[Calls], Failure | int | None]


def exits(calls: Calls, code: int) -> Calls:
    calls.call("exit_group", code)
    return calls


def test_calls_are_made_in_order_and_results_kept(run: Run, tmp_path: Path) -> None:
    calls = Calls()
    path = os.fsencode(tmp_path / "made")
    calls.call("openat", -100, path, os.O_WRONLY | os.O_CREAT, 0o600, store=RESULT)
    calls.call("write", 0, b"words", 5, on=RESULT, store=RESULT)
    calls.compare(RESULT, -1, 5, errno.EIO)
    assert run(exits(calls, 7)) == 7
    assert (tmp_path / "made").read_text() == "words"


def test_what_is_expected_passes_over_and_what_is_not_is_told(run: Run) -> None:
    calls = Calls()
    calls.step("look around")
    calls.call("chdir", b"/nowhere", expected=errno.ENOENT, skip=1)
    calls.call("exit_group", 1)
    calls.skip(1)
    calls.call("exit_group", 2)
    calls.call("chdir", b"/dev/null", expected=errno.ENOENT, doing="/dev/null")
    assert run(exits(calls, 3)) == Failure("look around", errno.ENOTDIR, "/dev/null: Not a directory")


def test_a_value_that_is_not_as_it_should_be_is_told(run: Run) -> None:
    calls = Calls()
    calls.step("compare")
    calls.put(BUFFER, 0x1234)
    calls.compare(BUFFER, 0xFF, 0x34, errno.EIO)
    calls.compare(BUFFER, -1, 0x34, errno.ENODEV, doing="the number")
    assert run(exits(calls, 3)) == Failure("compare", errno.ENODEV, f"the number: {os.strerror(errno.ENODEV)}")


def test_any_error_can_be_passed_over_and_places_become_addresses(run: Run) -> None:
    calls = Calls()
    calls.call("fstatfs", -1, BUFFER, expected=ANY_ERROR)
    calls.call("getcwd", Place(4096), 4096)
    calls.compare(Place(4096), 0xFF, ord("/"), errno.EIO)
    assert run(exits(calls, 4)) == 4


def test_a_program_that_is_nowhere_is_told_with_the_error_that_says_most(run: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("")
    for names, error in (((b"/nowhere/x", b"/dev/null/x"), errno.ENOENT), ((b"locked", b"/nowhere/x"), errno.EACCES)):
        calls = Calls()
        calls.step("execute")
        argv, environment = calls.pointers([b"x"]), calls.pointers([])
        calls.call("chdir", os.fsencode(tmp_path))
        for name in names:
            calls.try_one("execve", name, argv, environment, expected=(errno.ENOENT, errno.ENOTDIR))
        assert run(calls) == Failure("execute", error, os.strerror(error))


def test_a_list_that_is_too_long_is_refused() -> None:
    calls = Calls()
    for _ in range(2000):
        calls.call("umask", 0)
    with pytest.raises(OSError, match="2000 calls"):
        Area().load([calls])


@pytest.mark.machine
def test_a_box_with_little_memory_is_set_up_by_a_copy(runtime: ContainerRuntime, box: SpecFactory) -> None:
    for size in (COPIED_BELOW_BYTES // 2, COPIED_BELOW_BYTES):
        with runtime.start(box(memory_bytes=size, network="loopback")) as instance:
            instance.wait_ready(10)
            assert instance.run(["cat", "/proc/1/comm"], timeout_s=10).stdout == b"busybox\n"


@pytest.mark.machine
def test_limits_that_fail_while_the_box_is_on_its_way_take_it_back(
    runtime: ContainerRuntime, box: SpecFactory, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cgroup: Cgroup, limits: Limits) -> None:
        raise TrialFailed("no limits today")

    with runtime.start(box()) as instance:
        instance.wait_ready(10)
    with monkeypatch.context() as patch:
        patch.setattr(Cgroup, "complete", fail)
        with pytest.raises(TrialFailed, match="no limits today"), runtime.start(box()):
            pass
    assert leftovers(workspace.mark) == {}
    assert [path.name for path in workspace.scratch.iterdir()] == ["zygote.log"]
    with runtime.start(box()) as instance:
        instance.wait_ready(10)


@pytest.mark.parametrize("how", [sharing, copied])
def test_only_what_waits_for_the_zygote_fails_with_its_error(how: Callable[[Area], tuple[int, int]]) -> None:
    area, waiting, other = Area(), Calls(), Calls()
    waiting.compare(ERROR_MET, -1, 0, errno.EIO)
    other.call("chdir", b"/nowhere")
    for part, code in ((waiting, errno.EPERM), (other, errno.ENOENT)):
        area.load([part])
        with Path("/dev/null").open("wb") as null:
            area.put(REPORT, null.fileno())
            area.put(ERROR_MET, errno.EPERM)
            how(area)
        failure = area.failure()
        assert failure is not None and failure.errno == code


def test_a_call_nobody_knows_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(dict[str, int], numbers.NUMBERS), "close_range", -1)
    with pytest.raises(OSError, match="does not know close_range"):
        Calls().call("close_range", 3, 4, 0)

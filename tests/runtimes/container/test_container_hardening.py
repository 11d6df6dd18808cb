"""What a box has given up by the time its first program runs, and the filters that see to it."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cgroups
from harness.cgroups import Cgroup, Limits
from harness.contract import Workspace
from harness.errors import Unsupported
from harness.model import Spec
from runtimes.container import allowed, capabilities, devices, seccomp
from runtimes.container import syscalls as sys_
from runtimes.container.driver import ContainerRuntime

pytestmark = pytest.mark.machine

SpecFactory = Callable[..., Spec]
DOCKERS = capabilities.mask(
    *"chown dac_override fsetid fowner mknod net_raw setgid setuid setfcap setpcap".split(),  # noqa: SIM905 (a list)
    *("net_bind_service", "sys_chroot", "kill", "audit_write"),
)


def status(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_five_capability_sets_are_dockers_or_less(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        said = status(pid)
    kept = f"{capabilities.DEFAULT:016x}"
    assert [said[name] for name in ("CapBnd", "CapPrm", "CapEff")] == [kept] * 3
    assert [said[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
    assert capabilities.DEFAULT & ~DOCKERS == 0
    assert said["NoNewPrivs"] == "1"
    assert (said["Seccomp"], said["Seccomp_filters"]) == ("2", "1")


def test_a_capability_nobody_knows_is_an_error() -> None:
    assert capabilities.mask("chown", "sys_admin") == 1 << 0 | 1 << 21
    with pytest.raises(ValueError, match="not in tuple"):
        capabilities.mask("everything")


def test_the_zygote_runs_no_file_of_the_host(runtime: ContainerRuntime, box: SpecFactory) -> None:
    with runtime.start(box()) as instance:
        instance.wait_ready(10)
        (pid,) = instance.pids()
        zygote = status(pid)["PPid"]
    assert os.readlink(f"/proc/{zygote}/exe") == "/memfd:tare-zygote (deleted)"  # noqa: PTH115 (not a path)


def test_every_call_this_kernels_library_knows_is_allowed_or_left_out_on_purpose() -> None:
    """What is left out is written down here too, so that a call of the list cannot get lost by a typing error."""
    library = seccomp._library()
    resolve = library["seccomp_syscall_resolve_num_arch"]
    resolve.restype, resolve.argtypes = ctypes.c_void_p, (ctypes.c_uint32, ctypes.c_int)
    found = (resolve(library.seccomp_arch_native(), number) for number in range(451))
    known = {ctypes.string_at(name).decode() for name in found if name}
    named = {*allowed.FREELY, *allowed.UNHEARD_OF, "clone", "personality", "socket"}
    assert len(allowed.FREELY) == len(set(allowed.FREELY))
    assert known - named <= set(LEFT_OUT.split())
    assert not named & set(LEFT_OUT.split())


LEFT_OUT = """
mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns sethostname
setdomainname ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd add_key request_key keyctl bpf perf_event_open
io_uring_setup io_uring_enter io_uring_register userfaultfd open_by_handle_at init_module finit_module delete_module
create_module get_kernel_syms query_module kexec_load kexec_file_load reboot clock_settime settimeofday swapon swapoff
acct quotactl quotactl_fd iopl ioperm modify_ldt syslog vhangup mbind set_mempolicy get_mempolicy migrate_pages
move_pages set_mempolicy_home_node fanotify_init fanotify_mark lookup_dcookie nfsservctl uselib ustat sysfs _sysctl
getpmsg putpmsg afs_syscall tuxcall security epoll_ctl_old epoll_wait_old vserver
"""


def test_the_filter_is_made_once_and_again_when_it_must_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seccomp.filter_bytes(tmp_path)
    (cached,) = (tmp_path / "seccomp").iterdir()
    cached.write_bytes(b"kept")
    assert seccomp.filter_bytes(tmp_path) == b"kept"
    source = tmp_path / "allowed.py"
    source.write_text("# another list\n")
    monkeypatch.setattr(allowed, "__file__", str(source))
    assert seccomp.filter_bytes(tmp_path) == first
    assert len(list((tmp_path / "seccomp").iterdir())) == 2
    assert len(first) // 8 < 4096  # the kernel's bound


def test_without_the_library_the_host_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_LIBRARY", "libseccomp-that-is-not-there.so")
    with pytest.raises(Unsupported, match="not installed") as caught:
        seccomp.filter_bytes(tmp_path)
    assert "libseccomp2" in caught.value.hint


def test_the_device_filter_lets_pass_what_is_in_dev_and_nothing_else(workspace: Workspace) -> None:
    """In a cgroup of its own, root with all its capabilities: the filter alone says no."""
    if cgroups.UNIFIED not in cgroups.hierarchies().parents:
        pytest.skip("this host has no v2 hierarchy")
    group = Cgroup.create(workspace.name(0), Limits(), controllers=())
    folder = os.open(group.paths[cgroups.UNIFIED], os.O_RDONLY)
    program = (
        "import sys; open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
        "for path in sys.argv[2:]:\n"
        "    try: open(path, 'rb', buffering=0).close(); print('ok')\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    allowed_paths = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"]
    refused_paths = [
        path for path in ("/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/kvm", "/dev/fuse") if Path(path).exists()
    ]
    argv = [sys.executable, "-c", program, str(group.paths[cgroups.UNIFIED]), *allowed_paths, *refused_paths]
    try:
        without = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        loaded = devices.load()
        sys_.attach_bpf(loaded, folder, sys_.BPF_CGROUP_DEVICE)
        os.close(loaded)
        within = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    finally:
        os.close(folder)
        group.remove()
    assert without[: len(allowed_paths)] == within[: len(allowed_paths)] == ["ok"] * len(allowed_paths)
    assert "ok" in without[len(allowed_paths) :]
    assert within[len(allowed_paths) :] == ["Operation not permitted"] * len(refused_paths)


def test_the_device_program_is_whole_instructions() -> None:
    code = devices.program()
    assert len(code) % struct.calcsize("=BBhi") == 0

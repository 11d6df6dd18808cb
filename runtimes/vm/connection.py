"""libvirt, the only module that imports it: opened once, shared by all VM runtimes of a process, no daemon needed.

Facts this module rests on:
  * The embedded driver takes one root folder per process, and twenty connections in its life, so every VM runtime of a
    process shares one of each, and the folder is removed when the process ends.
  * Its event loop must be registered before the connection is opened, and run all the time.
  * Asking a QEMU what it can do takes libvirt seconds. The answers are kept in the store and lent to each root folder
    by a symbolic link; libvirt itself checks whether they still fit.
  * Monitor sockets lie below the root, and a Unix socket's path has 107 bytes: the root must be short.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import hashlib
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness import paths
from harness.contract import Workspace
from harness.errors import TrialFailed, Unsupported
from runtimes.vm import uris

# libvirt logs to stderr unless told otherwise while it is being loaded; errors reach us as exceptions anyway.
os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")

import libvirt

KVM_DEVICE = Path("/dev/kvm")
EMULATOR = "qemu-system-x86_64"
INSTALL_HINT = "apt-get install qemu-system-x86 libvirt-daemon-driver-qemu libvirt-daemon-system"
ROOT_SUFFIX = "-vm-"
_SOCKET_PATH_LIMIT = 107
# The longest path libvirt makes below the root: lib/qemu/domain-<id>-<20 characters of the name>/monitor.sock
_MONITOR_PATH_LENGTH = len("/lib/qemu/domain-99999-/monitor.sock") + 20
_QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
dynamic_ownership = 0
namespaces = []
cgroup_controllers = []
capability_filters = [ "cpu-unavailable-features" ]
"""
"""The last line: libvirt would read each property of the virtual CPU back, 400 questions one by one, half of its time
for a start. Nobody uses the answers: our CPU is the host's (or all that QEMU can emulate), unchecked."""

_OWNER = "owner"  # a file in each root, locked by the process that made it

_roots: dict[str, Path] = {}
_held = contextlib.ExitStack()
_lock = threading.Lock()


@contextlib.contextmanager
def _as_failed(what: str) -> Iterator[None]:
    """Libvirt's refusals as failed trials, with its words."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise TrialFailed(f"{what}: {str(error).splitlines()[0]}", log=str(error)) from None


class Domain:
    """One domain, as far as a box needs it."""

    def __init__(self, handle: libvirt.virDomain) -> None:
        self._handle = handle

    def suspend(self) -> None:
        with _as_failed("libvirt did not pause the box"):
            self._handle.suspend()

    def resume(self) -> None:
        with _as_failed("libvirt did not let the box run"):
            self._handle.resume()

    def press_power_button(self) -> None:
        """ACPI's: whether anybody inside hears it is not known here."""
        with _as_failed("libvirt did not press the button"):
            self._handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def vcpu_counts(self) -> dict[str, int]:
        """libvirt's numbers of the virtual CPUs by its names, such as `vcpu.0.delay`; TrialFailed when it has none.

        Only these: asked for the domain's CPU time as well, libvirt probes QEMU anew, which takes it seconds.
        """
        with _as_failed("libvirt has no count of the box"):
            ((_, counts),) = self._handle.connect().domainListGetStats([self._handle], libvirt.VIR_DOMAIN_STATS_VCPU)
        return {name: count for name, count in counts.items() if isinstance(count, int)}

    def save(self, state: Path) -> None:
        """Writes its memory to a file and ends it."""
        with _as_failed("libvirt did not save the box"):
            self._handle.save(str(state))

    def destroy(self) -> None:
        """Makes libvirt forget it, if it has not yet noticed that QEMU is gone; TrialFailed with libvirt's words."""
        with _as_failed("libvirt did not end the box"):
            try:
                self._handle.destroy()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                    raise


@dataclass(frozen=True, slots=True)
class Connection:
    """An open connection. `folder` is a short path for sockets; `embedded`: QEMU is forked by this very process."""

    handle: libvirt.virConnect
    folder: Path
    embedded: bool

    @property
    def alive(self) -> bool:
        """False once the daemon at its other end is gone."""
        return bool(self.handle.isAlive())

    def sees_our_files(self) -> bool:
        """Whether libvirt finds a file that was made here just now: two hosts can have one name.

        Asked what a QEMU of that name can do, it says that the file is no program, or not there.
        """
        found = True
        with tempfile.NamedTemporaryFile(dir=self.folder) as file:
            try:
                self.handle.getDomainCapabilities(file.name)
            except libvirt.libvirtError as error:
                found = error.get_int1() != errno.ENOENT
        return found

    def owner_label(self) -> str | None:
        """Who QEMU is to run as where libvirt would choose somebody, to whom it then gives every file of a box: us.

        Taken at its word, a daemon hands the image store's files, and a kernel in /boot, to its own account.
        """
        chooses = not self.embedded and "<model>dac</model>" in self.handle.getCapabilities()
        return f"+{os.getuid()}:+{os.getgid()}" if chooses else None

    def ask_capabilities(self, emulator: Path, machine: str, domain_type: str) -> None:
        """Makes libvirt ask QEMU now what it can do (seconds, once per host state) and not while a box starts."""
        try:
            self.handle.getDomainCapabilities(str(emulator), "x86_64", machine, domain_type)
        except libvirt.libvirtError as error:
            hint = f"{INSTALL_HINT}; {emulator} must be executable: no noexec mount"
            raise Unsupported(f"libvirt has no {domain_type} domains here: {error}", hint=hint) from None

    def create_paused(self, name: str, xml: str) -> Domain:
        """A domain whose QEMU exists and whose guest has not begun; TrialFailed with libvirt's words."""
        with _as_failed(f"libvirt did not create {name}"):
            return Domain(self.handle.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED))

    def restore_paused(self, name: str, state: Path) -> Domain:
        """The domain of a saved state, paused; TrialFailed with libvirt's words."""
        with _as_failed(f"libvirt did not restore {name}"):
            self.handle.restoreFlags(str(state), None, libvirt.VIR_DOMAIN_SAVE_PAUSED)
            return Domain(self.handle.lookupByName(name))

    def close(self) -> None:
        """Harmless twice; boxes that still run keep running."""
        if not self.embedded:
            with contextlib.suppress(libvirt.libvirtError):
                self.handle.close()


def open_connection(workspace: Workspace) -> Connection:
    """Opens what `uri` in the workspace's options names, by default the embedded driver."""
    uri = workspace.options.get("uri", "")
    if uris.embedded(uri):
        raise Unsupported("an embedded driver has a folder of Tare's own", hint="leave the option uri out")
    with _lock:
        _start_event_loop()
        _settle_change_time()
        folder = _roots.get(uri) or _make_root(uri, workspace)
        try:
            handle = libvirt.open(uris.unattended(uri)) if uri else _open_embedded(folder)
        except libvirt.libvirtError as error:
            raise _explained(uri, str(error)) from None
    link = Connection(handle, folder, embedded=not uri)
    if not link.embedded and not link.sees_our_files():
        link.close()
        raise Unsupported(
            f"libvirt at {uri} does not see this host's files: it is on another host, or shut away on this one",
            hint="run tare on that host: a box's memory, CPU time and sockets are looked at where its QEMU runs",
        )
    return link


@cache
def _open_embedded(folder: Path) -> libvirt.virConnect:
    return libvirt.open(f"qemu:///embed?root={folder}")


def abandoned(root: Path) -> bool:
    """Whether the process that made this folder is gone. It may have outlived the run whose mark the folder bears."""
    with paths.locked(root / _OWNER, wait=False) as free:
        return free


def find_emulator() -> Path:
    """QEMU's program; Unsupported when there is none."""
    found = shutil.which(EMULATOR)
    if found is None:
        raise Unsupported(f"{EMULATOR} is not installed", hint=INSTALL_HINT)
    return Path(found)


def library_version() -> str:
    """libvirt's own."""
    number = libvirt.getVersion()
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _explained(uri: str, said: str) -> Unsupported:
    hint = INSTALL_HINT
    if "Failed to parse user" in said:
        hint = "libvirt wants its account even where QEMU runs as another: apt-get install libvirt-daemon-system"
    elif uri:
        hint = uris.remedy(uri)
    return Unsupported(f"libvirt does not open {uri or 'its embedded QEMU driver'}: {said}", hint=hint)


def _make_root(uri: str, workspace: Workspace) -> Path:
    cache = _capability_cache(workspace.store)
    root = Path(tempfile.mkdtemp(prefix=f"{workspace.mark}{ROOT_SUFFIX}"))
    if len(str(root)) + _MONITOR_PATH_LENGTH > _SOCKET_PATH_LIMIT:
        root.rmdir()
        raise Unsupported(f"{root} is too long a path for sockets below it", hint="set TMPDIR to a short path")
    _held.enter_context(paths.locked(root / _OWNER))
    atexit.register(_remove_root, root, os.getpid())
    if uri:
        root.chmod(0o711)  # a daemon's QEMU runs as somebody else and must get to its sockets
    else:
        _furnish(root, cache)
    _roots[uri] = root
    return root


def _remove_root(root: Path, owner_pid: int) -> None:
    if os.getpid() == owner_pid:
        shutil.rmtree(root, ignore_errors=True)


def _furnish(root: Path, cache: Path) -> None:
    """QEMU as our own user, no confinement beyond its own seccomp filter, no cgroup but the one we make."""
    (root / "etc").mkdir()
    owner = f'user = "+{os.getuid()}"\ngroup = "+{os.getgid()}"\n' if os.geteuid() == 0 else ""
    (root / "etc" / "qemu.conf").write_text(_QEMU_CONF + owner)
    cache.mkdir(parents=True, exist_ok=True)
    (root / "cache").symlink_to(cache)


def _capability_cache(store: Path) -> Path:
    """One folder for each state of the host that libvirt would probe anew."""
    qemu = find_emulator().stat()
    kvm = os.access(KVM_DEVICE, os.R_OK | os.W_OK)
    state = (libvirt.getVersion(), qemu.st_size, qemu.st_mtime_ns, kvm, os.geteuid(), platform.release())
    return store / "vm" / "capabilities" / hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def _settle_change_time() -> None:
    """Tells libvirt now how new its newest module is: it loads some only with the first disk, and by them dates itself.

    Answers it cached before are then outdated, and the second box of every process would wait seconds for new ones. The
    function is private; where it is missing we are slower, once.
    """
    note = getattr(ctypes.CDLL("libvirt.so.0"), "virUpdateSelfLastChanged", None)
    maps = Path("/proc/self/maps").read_text().splitlines()
    library = next((line.split()[-1] for line in maps if "/libvirt.so" in line), None)
    if note is None or library is None:
        return
    for module in Path(library).parent.glob("libvirt/*/*.so"):
        note(os.fsencode(module))


@cache
def _start_event_loop() -> None:
    """Once per process, for its whole life: libvirt has no way to take a loop back."""
    libvirt.registerErrorHandler(_ignore, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True).start()


def _run_event_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ignore(context: object, error: object) -> None:
    """libvirt prints every error to stderr unless somebody takes it; ours come as exceptions."""

"""A guest that can run this project's tests: this interpreter, this environment and this checkout, at the same paths.

Nothing is downloaded: the tree is what runs the tests now, less the libraries that only reports need.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.model import Kernel
from runtimes.vm import initrd

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("harness", "runtimes", "scenarios", "reports", "tests")
NEEDED = ("_pytest", "py.py", "pytest", "pluggy", "iniconfig", "packaging", "msgspec", "pyroute2", "pygments")
OPENED = ("libseccomp.so.2",)
"""Libraries that are opened by name while running: no ELF file tells of them."""
MODULES = ("overlay", "bridge", "veth")
PROGRAMS = "/usr/local/bin"

PREPARE = """
for module in /modules/*; do insmod "$module" || exit 1; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
echo '+cpu +memory +pids +cpuset' >/sys/fs/cgroup/cgroup.subtree_control || exit 1
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run || exit 1
ifconfig lo 127.0.0.1 up
"""
"""What an init system does on such a host."""


def furnish(tree: Path, kernel: Kernel, programs: Iterable[Path] = ()) -> None:
    """Adds to an unpacked `tiny` what the tests need; `programs` are put where PATH finds them."""
    for folder in ("/modules", PROGRAMS, "/lib64"):
        (tree / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    _interpreter(tree)
    for room in ROOMS:
        shutil.copytree(ROOT / room, _below(tree, ROOT / room), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", _below(tree, ROOT))
    for number, module in enumerate(initrd.load_order(Path(kernel.modules), MODULES)):
        (tree / "modules" / f"{number:02}-{module.name}").write_bytes(module.read_bytes())
    for program in programs:
        shutil.copy2(program, tree / PROGRAMS.lstrip("/") / program.name)
    for library in sorted(set(_libraries(tree))):
        target = _below(tree, library)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(library, target)


def _interpreter(tree: Path) -> None:
    """The base installation's standard library, the environment's own links, and of its packages the needed ones."""
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = Path(sys.executable).resolve()
    left_out = shutil.ignore_patterns("__pycache__", "test", "site-packages", "dist-packages", "idlelib", "config-*")
    shutil.copytree(base / "lib" / version, _below(tree, base / "lib" / version), ignore=left_out)
    _below(tree, executable).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(executable, _below(tree, executable))
    environment, packages = Path(sys.prefix), Path("lib", version, "site-packages")
    target = _below(tree, environment)
    (target / "bin").mkdir(parents=True)
    (target / "bin" / Path(sys.executable).name).symlink_to(executable)
    shutil.copy2(environment / "pyvenv.cfg", target)
    for entry in (environment / packages).iterdir():
        if entry.name in NEEDED or entry.suffix == ".dist-info":
            copy = shutil.copytree if entry.is_dir() else shutil.copy2
            (target / packages).mkdir(parents=True, exist_ok=True)
            copy(entry, target / packages / entry.name)


def _libraries(tree: Path) -> Iterator[Path]:
    """Every shared library that an ELF file in the tree asks this host's loader for, the loader included."""
    executables = (_below(tree, Path(sys.executable).resolve()), *(tree / PROGRAMS.lstrip("/")).iterdir())
    candidates = [*tree.rglob("*.so"), *executables]
    for file in candidates:
        shown = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout
        yield from map(Path, re.findall(r"(/[^ ]+\.so[^ ]*) \(", shown))
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    for name in OPENED:
        yield Path(re.findall(rf"{re.escape(name)} \(.*=> (/\S+)", known)[0])


def _below(tree: Path, path: Path) -> Path:
    return tree / path.relative_to("/")

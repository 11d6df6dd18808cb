"""The gauges, on processes and files whose weight is known."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scenarios import gauges

MIB = 1 << 20

HOLDER = """
import sys
size = int(sys.argv[1])
held = bytearray(size)
held[::4096] = b"x" * len(held[::4096])
print("holding", flush=True)
sys.stdin.read()
"""

GUEST = """
import mmap, os, sys
file = os.memfd_create("guest")
os.ftruncate(file, 64 << 20)
memory = mmap.mmap(file, 64 << 20)
for page in range(0, int(sys.argv[1]), 4096):
    memory[page] = 1
print("holding", flush=True)
sys.stdin.read()
"""

TRANSLATOR = """
import mmap, sys
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory[::4096] = b"x" * len(memory[::4096])
print("holding", flush=True)
sys.stdin.read()
"""

MAPPER = """
import mmap, sys
file = open(PATH, "rb")
memory = mmap.mmap(file.fileno(), int(sys.argv[1]), prot=mmap.PROT_READ)
read = memory[::4096]
print("holding", flush=True)
sys.stdin.read()
"""


@contextmanager
def child(script: str, size: int) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == b"holding\n"
    yield process.pid
    process.communicate()


@pytest.mark.parametrize("size", [8 * MIB, 32 * MIB, 128 * MIB])
def test_pss_rises_by_what_was_touched(size: int) -> None:
    with child(HOLDER, 0) as pid:
        empty = gauges.pss_bytes([pid])
    with child(HOLDER, size) as pid:
        assert abs(gauges.pss_bytes([pid]) - empty - size) < 0.02 * size + MIB


def test_a_process_that_is_gone_weighs_nothing() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert gauges.pss_bytes([process.pid]) == 0


def test_the_memory_of_a_guest_is_told_by_its_mapping() -> None:
    with child(GUEST, 16 * MIB) as pid:
        found = gauges.mappings([pid])
    resident = gauges.guest_resident_bytes(found)
    assert resident is not None
    assert abs(resident - 16 * MIB) < MIB
    assert gauges.file_bytes(found) < 16 * MIB
    assert gauges.guest_resident_bytes(gauges.mappings([os.getpid()])) is None


def test_code_made_at_run_time_is_told_by_its_permissions() -> None:
    with child(TRANSLATOR, 8 * MIB) as pid:
        generated = gauges.generated_bytes(gauges.mappings([pid]))
    assert generated is not None
    assert abs(generated - 8 * MIB) < MIB
    with child(HOLDER, 0) as pid:
        assert gauges.generated_bytes(gauges.mappings([pid])) is None


def test_mapped_files_are_counted_once_over_all_who_map_them(tmp_path: Path) -> None:
    (tmp_path / "library").write_bytes(bytes(16 * MIB))
    script = MAPPER.replace("PATH", repr(str(tmp_path / "library")))
    with child(script, 16 * MIB) as one, child(script, 16 * MIB) as other:
        shared = [m.pss_bytes for m in gauges.mappings([one, other]) if m.name.endswith("library")]
    assert sum(shared) == pytest.approx(16 * MIB, rel=0.01)


def test_allocated_counts_blocks_and_not_holes(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 * MIB)
        file.write(b"x" * 8192)
        os.fsync(file.fileno())
    assert gauges.apparent_bytes(sparse) == 64 * MIB
    assert 8192 <= gauges.allocated_bytes(sparse) <= 64 * 1024


def test_a_tree_is_counted_whole_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "one").write_bytes(bytes(5000))
    (tmp_path / "tree" / "below" / "two").write_bytes(bytes(3000))
    (tmp_path / "tree" / "link").symlink_to("/")
    assert gauges.apparent_bytes(tmp_path / "tree") == 8000


def test_compressed_is_what_zlib_makes_of_it(tmp_path: Path) -> None:
    data = b"tare " * 500_000
    (tmp_path / "file").write_bytes(data)
    assert gauges.compressed_bytes(tmp_path / "file") == len(zlib.compress(data, 6))


def test_holes_do_not_travel(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(32 * MIB)
        file.write(b"x" * 8192)
    assert gauges.compressed_bytes(sparse) < 1000


def test_a_file_with_three_names_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    first = tmp_path / "tree" / "first"
    first.write_bytes(bytes(MIB))
    for name in ("second", "third"):
        (tmp_path / "tree" / name).hardlink_to(first)
    assert gauges.apparent_bytes(tmp_path / "tree") == MIB


def test_a_path_that_is_gone_weighs_nothing(tmp_path: Path) -> None:
    assert gauges.allocated_bytes(tmp_path / "gone") == 0

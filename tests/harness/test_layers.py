"""Layers laid over each other: what stays, what goes, and what a file is afterwards."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import packing
from harness.errors import UsageError
from harness.layers import Tree
from harness.packed import Budget, Limits, Unpacked
from harness.tarstream import TarStream
from tests.harness import archives
from tests.harness.archives import Content, entry, file, folder, hard, link, listing, tar

LIMITS = Limits()
# What `setcap cap_net_raw=ep` writes: version 2, effective; bit 13.
CAPABILITY = b"\x01\x00\x00\x02\x00\x20".ljust(20, b"\0")


def laid(root: Path, *layers: bytes) -> Tree:
    root.mkdir()
    budget = Budget(LIMITS)
    with Tree(root, LIMITS) as tree:
        for layer in layers:
            tree.begin_layer()
            members = TarStream(Unpacked(io.BytesIO(layer), "", len(layer), budget), budget)
            for member in members:
                tree.apply(member, members.data())
        tree.finish()
    return tree


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


BASE = tar(folder("d"), file("d/old", b"old"), folder("d/sub"), file("d/sub/deep"), file("f", b"f"), link("l", "d"))


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ([file(".wh.f", b"")], {"d", "d/old", "d/sub", "d/sub/deep", "l"}),
        ([file("d/.wh.sub", b"")], {"d", "d/old", "f", "l"}),
        ([file("d/.wh..wh..opq", b"")], {"d", "f", "l"}),
        ([file(".wh..wh..opq", b"")], set()),
        ([file("d/new"), file("d/.wh..wh..opq", b"")], {"d", "d/new", "f", "l"}),
        ([file("d/.wh..wh..opq", b""), file("d/new")], {"d", "d/new", "f", "l"}),
        ([file("d/sub/new"), file("d/.wh..wh..opq", b"")], {"d", "d/sub", "d/sub/new", "f", "l"}),
        ([folder("d/sub"), file("d/.wh..wh..opq", b"")], {"d", "d/sub", "f", "l"}),
        ([file("f", b"new"), file(".wh.f", b"")], {"d", "d/old", "d/sub", "d/sub/deep", "f", "l"}),
        ([file(".wh.f", b""), file("f", b"new")], {"d", "d/old", "d/sub", "d/sub/deep", "f", "l"}),
        ([file("d/sub/new"), file(".wh.d", b"")], {"d", "d/sub", "d/sub/new", "f", "l"}),
        ([file(".wh.l", b"")], {"d", "d/old", "d/sub", "d/sub/deep", "f"}),
        ([file("none/.wh.x", b""), file(".wh.nothing", b"")], {"d", "d/old", "d/sub", "d/sub/deep", "f", "l"}),
        ([file("d", b"now a file")], {"d", "f", "l"}),
        ([folder("f"), file("f/x")], {"d", "d/old", "d/sub", "d/sub/deep", "f", "f/x", "l"}),
        ([folder("l"), file("l/x")], {"d", "d/old", "d/sub", "d/sub/deep", "f", "l", "l/x"}),
        ([file("l/through")], {"d", "d/old", "d/sub", "d/sub/deep", "d/through", "f", "l"}),
        ([link("d", "elsewhere")], {"d", "f", "l"}),
        ([file(".wh..wh.plnk", b"")], {"d", "d/old", "d/sub", "d/sub/deep", "f", "l"}),
    ],
)
def test_what_is_left_of_a_lower_layer(tmp_path: Path, upper: list[Content], left: set[str]) -> None:
    laid(tmp_path / "root", BASE, tar(*upper))
    assert names(tmp_path / "root") == left


def test_a_whiteout_does_not_reach_its_own_layer(tmp_path: Path) -> None:
    laid(tmp_path / "root", BASE, tar(file(".wh.f", b""), file("f", b"new")))
    assert (tmp_path / "root" / "f").read_bytes() == b"new"


def test_a_folder_over_a_folder_changes_its_attributes_only(tmp_path: Path) -> None:
    laid(tmp_path / "root", BASE, tar(folder("d", mode=0o700, mtime=7)))
    state = (tmp_path / "root" / "d").stat()
    assert (stat.S_IMODE(state.st_mode), state.st_mtime) == (0o700, 7)
    assert (tmp_path / "root" / "d" / "old").exists()


def test_a_folder_nobody_spoke_of_has_plain_attributes(tmp_path: Path) -> None:
    laid(tmp_path / "root", tar(file("a/b/c", mtime=5)))
    state = (tmp_path / "root" / "a" / "b").stat()
    assert (stat.S_IMODE(state.st_mode), state.st_mtime) == (0o755, 0)


def test_links_that_lead_where_nothing_is_yet(tmp_path: Path) -> None:
    laid(
        tmp_path / "root",
        tar(link("lib", "usr/lib"), file("lib/x", b"1"), link("run", "/var/../r"), file("run/y", b"2")),
    )
    assert (tmp_path / "root" / "usr" / "lib" / "x").read_bytes() == b"1"
    assert (tmp_path / "root" / "r" / "y").read_bytes() == b"2"


def test_replacing_one_name_leaves_the_other_names_alone(tmp_path: Path) -> None:
    laid(tmp_path / "root", tar(file("a", b"1"), hard("b", "a")), tar(file("b", b"2")), tar(hard("c", "a")))
    root = tmp_path / "root"
    assert [(root / name).read_bytes() for name in "abc"] == [b"1", b"2", b"1"]
    assert (root / "a").stat().st_ino == (root / "c").stat().st_ino


@pytest.mark.machine
def test_owners_modes_times_and_attributes_are_kept(tmp_path: Path) -> None:
    headers = {
        "mtime": "1234567890.123456789",
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1"),
        "SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0",
    }
    tree = laid(
        tmp_path / "root",
        tar(
            file("su", mode=0o4755, uid=3, gid=4, pax_headers=headers),
            folder("shared", mode=0o2775, gid=50),
            link("l", "su", uid=6, gid=7, mtime=9),
            entry("fifo", tarfile.FIFOTYPE, mode=0o620, uid=8),
            entry("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        ),
    )
    root = tmp_path / "root"
    state = (root / "su").stat()
    assert (stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid) == (0o4755, 3, 4)
    assert state.st_mtime_ns == 1234567890123456789
    assert os.getxattr(root / "su", "user.note") == b"hello"
    assert os.getxattr(root / "su", "security.capability") == CAPABILITY
    assert stat.S_IMODE((root / "shared").stat().st_mode) == 0o2775
    assert (lambda s: (s.st_uid, s.st_gid, s.st_mtime))((root / "l").lstat()) == (6, 7, 9)
    fifo = (root / "fifo").stat()
    assert (stat.filemode(fifo.st_mode), fifo.st_uid) == ("prw--w----", 8)
    assert not (root / "dev").exists()
    assert dict(tree.left_out) == {"device": 1, "security.selinux attribute": 1}


def test_names_that_are_not_utf8_stay_as_they_are(tmp_path: Path) -> None:
    laid(tmp_path / "root", tar(file("caf\udce9"), file("d\udcff/" + "x" * 150)))
    found = [os.fsencode(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert found == [b"root/caf\xe9", b"root/d\xff/" + b"x" * 150]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_names_is_read(tmp_path: Path, form: int) -> None:
    path = "/".join(["directory" * 3] * 5) + "/file"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info, data = file(path, b"content")
        archive.addfile(info, io.BytesIO(data))
        if form != tarfile.USTAR_FORMAT:
            archive.addfile(link("l", "t" * 300)[0])
    laid(tmp_path / "root", out.getvalue())
    assert (tmp_path / "root" / path).read_bytes() == b"content"


def test_gnu_times_are_not_taken_for_a_prefix(tmp_path: Path) -> None:
    """GNU tar writes other times where POSIX has the first part of the name."""
    (tmp_path / "f").write_text("x")
    command = ["tar", "--format=gnu", "--incremental", "--no-check-device", "-C", str(tmp_path), "-cf", "-", "f"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    laid(tmp_path / "root", archive)
    assert names(tmp_path / "root") == {"f"}


def test_a_pax_size_overrules_the_header(tmp_path: Path) -> None:
    info = tarfile.TarInfo("PaxHeader")
    record = b"10 size=3\n"
    info.type, info.size = tarfile.XHDTYPE, len(record)
    plain = tar(file("f", b"abc"))
    header = bytearray(plain[:512])
    header[124:136] = b"77777777777\0"
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    laid(tmp_path / "root", info.tobuf() + record.ljust(512, b"\0") + bytes(header) + plain[512:])
    assert (tmp_path / "root" / "f").read_bytes() == b"abc"


def test_what_comes_before_a_fault_is_not_undone_here_but_nothing_after_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="climbs"):
        laid(tmp_path / "root", tar(file("a"), file("../b"), file("c")))
    assert names(tmp_path / "root") == {"a"}
    assert not (tmp_path / "b").exists()


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    laid(tmp_path / "one", BASE, tar(file("d/.wh..wh..opq", b""), file("l/x"), hard("h", "f")))
    with pytest.raises(UsageError):
        laid(tmp_path / "two", tar(file("a/b/c"), file("a/b/c/d")))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0\n"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) <= 255
)
LEAF = st.one_of(
    st.binary(max_size=2000),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30),
    st.just(None),
)
TREES = st.recursive(
    st.dictionaries(NAME, LEAF, max_size=5), lambda inner: st.dictionaries(NAME, st.one_of(LEAF, inner), max_size=5)
)


def grow(where: Path, tree: dict[str, object]) -> None:
    """Bytes become files, text links, None a FIFO, and a dictionary a folder."""
    for number, (name, what) in enumerate(tree.items()):
        path = where / name
        if isinstance(what, dict):
            path.mkdir()
            grow(path, what)
            path.chmod(0o700 + number % 8)
        elif isinstance(what, bytes):
            path.write_bytes(what)
            path.chmod(0o600 + number)
        elif isinstance(what, str):
            path.symlink_to(what)
        else:
            os.mkfifo(path)


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_any_folder_survives_the_way_through_an_archive(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    work = tmp_path_factory.mktemp("tree")
    (work / "original").mkdir()
    grow(work / "original", tree)
    packing.pack(work / "original", work / "archive")
    laid(work / "copy", gzip.decompress((work / "archive").read_bytes()))
    assert listing(work / "copy") == listing(work / "original")


PLACES = st.sampled_from(["a", "b", "a/c", "a/d", "a/c/e", "b/c"])


def as_dictionary(layers: list[list[tuple[str, str]]]) -> dict[str, str]:
    """The same layers applied to a dictionary of paths: what the specification says, as plainly as can be."""
    state: dict[str, str] = {}
    for layer in layers:
        lower, state = state, {}
        hidden = [path for path, what in layer if what == "whiteout"]
        opaque = [path for path, what in layer if what == "opaque"]
        for path, what in lower.items():
            parents = [path.rsplit("/", count)[0] for count in range(path.count("/") + 1)]
            if not any(one in hidden for one in parents) and not any(path.startswith(one + "/") for one in opaque):
                state[path] = what
        for path, what in layer:
            if what not in ("whiteout", "opaque"):
                state[path] = what
    return state


@settings(max_examples=150, deadline=None)
@given(
    layers=st.lists(
        st.lists(
            st.tuples(PLACES, st.sampled_from(["1", "2", "whiteout", "opaque"])), unique_by=lambda one: one, max_size=5
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whiteouts_do_what_the_specification_says(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[tuple[str, str]]]
) -> None:
    """Files are named so that none stands where another layer has a folder."""
    kept = [[(place, what) for place, what in dict(layer).items()] for layer in layers]
    tars = []
    for layer in kept:
        contents = []
        for place, what in layer:
            above, _, name = place.rpartition("/")
            if what == "opaque":
                contents.append(archives.file(f"{place}/.wh..wh..opq", b""))
            elif what == "whiteout":
                contents.append(archives.file(f"{above}/.wh.{name}".lstrip("/"), b""))
            else:
                contents.append(archives.file(f"{place}/file", what.encode()))
        tars.append(tar(*contents))
    root = tmp_path_factory.mktemp("layers") / "root"
    laid(root, *tars)
    expected = as_dictionary(
        [
            [(place if what in ("whiteout", "opaque") else f"{place}/file", what) for place, what in layer]
            for layer in kept
        ]
    )
    assert {
        path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()
    } == expected

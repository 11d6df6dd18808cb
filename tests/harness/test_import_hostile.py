"""Images made to do harm: each is one clear line, exit code 2, and nothing of it stays, inside the store or outside."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from harness import imports
from harness.errors import UsageError
from harness.packed import Limits
from tests.harness import archives
from tests.harness.archives import GZIP_LAYER, LayoutMaker, digest, entry, file, folder, hard, layout, link, tar
from tests.harness.test_cli import tare

DEEP = "/".join(["d"] * 150)


def pax_tar(**headers: str) -> bytes:
    """One file with these pax headers, whatever they say."""
    return tar(file("f", pax_headers=headers))


def raw_pax(record: bytes, data: bytes = b"x") -> bytes:
    """One file with this extended header, byte for byte."""
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    return info.tobuf() + record.ljust(-(-len(record) // 512) * 512, b"\0") + tar(file("f", data))


def sparse(size: int) -> bytes:
    """GNU's old sparse format: a file of any size in one block."""
    info = tarfile.TarInfo("huge")
    info.type, info.size = b"S", 0
    header = bytearray(info.tobuf(format=tarfile.GNU_FORMAT))
    header[483:495] = f"{size:011o}\0".encode()
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + bytes(1024)


LAYERS: dict[str, tuple[bytes, str]] = {
    "absolute path": (tar(file("/etc/passwd")), "absolute path '/etc/passwd'"),
    "climbing path": (tar(file("a/../../../etc/passwd")), "climbs out of its folder"),
    "climbing pax path": (pax_tar(path="../evil"), "climbs out of its folder"),
    "link that climbs": (tar(link("l", "../../../../etc"), file("l/passwd")), "leads out of the image by the links"),
    "link that climbs, by steps": (
        tar(folder("a"), link("a/up", ".."), link("a/out", "up/.."), file("a/out/passwd")),
        "leads out of the image by the links",
    ),
    "hard link outside": (tar(hard("h", "../../../etc/passwd")), "climbs out of its folder"),
    "absolute hard link": (tar(hard("h", "/etc/passwd")), "absolute target of a hard link"),
    "hard link to a link": (tar(link("l", "/etc/passwd"), hard("h", "l")), "which is a symbolic link"),
    "hard link through a link": (tar(link("l", "../../etc"), hard("h", "l/passwd")), "leads out of the image"),
    "hard link to nothing": (tar(hard("h", "later"), file("later")), "which is no file here"),
    "hard link to a folder": (tar(folder("d"), hard("h", "d")), "which is no file here"),
    "hard link to the root": (tar(hard("h", ".")), "which is no file here"),
    "whiteout through a link": (
        tar(folder("a"), file("a/x"), link("l", "a"), file("l/.wh.x", b"")),
        "goes through a link at 'l'",
    ),
    "opaque whiteout through a link": (
        tar(link("l", "/etc"), file("l/.wh..wh..opq", b"")),
        "goes through a link at 'l'",
    ),
    "whiteout of nothing": (tar(file(".wh.", b"")), "hides '', which is no name"),
    "whiteout of its folder": (tar(file("d/.wh..", b"")), "hides '.', which is no name"),
    "whiteout of the folder above": (tar(file("d/.wh...", b"")), "hides '..', which is no name"),
    "something in a whiteout": (tar(file(".wh.d/x")), "lies in something hidden"),
    "host's disk": (tar(entry("disk", tarfile.BLKTYPE, devmajor=8)), "block device 'disk' (8:0)"),
    "host's memory": (tar(entry("mem", tarfile.CHRTYPE, devmajor=1, devminor=1)), "character device 'mem' (1:1)"),
    "overlay's own whiteout": (tar(entry("gone", tarfile.CHRTYPE)), "character device 'gone' (0:0)"),
    "device bomb": (
        tar(*(entry(f"d{n}", tarfile.CHRTYPE, devmajor=1, devminor=3) for n in range(2100))),
        "2000 entries",
    ),
    "too many entries": (tar(*(file(f"f{n}", b"") for n in range(2100))), "more than 2000 entries"),
    "root that is a link": (tar(link(".", "/etc"), file("passwd")), "makes its own root a symbolic link"),
    "root that is a file": (tar(entry(".")), "makes its own root a file"),
    "same name twice": (tar(file("f", b"1"), file("f", b"2")), "holds 'f' twice in one layer"),
    "same name twice, spelt otherwise": (tar(file("f", b"1"), file("././f", b"2")), "twice in one layer"),
    "file, then folder": (tar(file("f"), folder("f")), "holds 'f/' twice in one layer"),
    "folder with something in it, then file": (tar(file("d/f"), file("d")), "holds 'd' twice in one layer"),
    "folder, then link": (tar(folder("d"), file("d/f"), link("d", "/etc")), "holds 'd' twice in one layer"),
    "circle of links": (tar(link("a", "b"), link("b", "a"), file("a/f")), "goes round in a circle of links"),
    "link to itself": (tar(link("a", "a"), file("a/f")), "goes round in a circle of links"),
    "file as a folder": (tar(file("f"), file("f/g")), "takes 'f' for a folder"),
    "name that is too long": (tar(file("n" * 256)), "too long or too deep"),
    "path that is too deep": (tar(file("d/" * 250 + "f")), "too long or too deep"),
    "path that is too deep by links": (
        tar(folder(DEEP), link("l", DEEP), file(f"l/{DEEP}/f")),
        "nests folders too deeply",
    ),
    "attribute for overlays": (
        tar(folder("d", pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"})),
        "attribute 'trusted.overlay.opaque', which no image may",
    ),
    "attribute for users' overlays": (
        tar(folder("d", pax_headers={"SCHILY.xattr.user.overlay.redirect": "/etc"})),
        "attribute 'user.overlay.redirect'",
    ),
    "name with a NUL": (raw_pax(b"16 path=a\0b/evi\n"), "a name with a NUL in it"),
    "link target with a NUL": (raw_pax(b"17 linkpath=a\0bc\n"), "a name with a NUL in it"),
    "extended header that lies": (raw_pax(b"99 path=a\n"), "extended header that is damaged"),
    "extended header without a key": (raw_pax(b"6 =ab\n"), "extended header that is damaged"),
    "size in letters": (pax_tar(size="1_0"), "a size that is not a number"),
    "owner nobody has": (pax_tar(uid="4294967295"), "which no file can have"),
    "size that runs over": (raw_pax(b"15 size=999999\n"), "is cut short in the middle of a file"),
    "sparse file": (sparse(10 << 30), "a sparse file"),
    "sparse file, new style": (raw_pax(b"22 GNU.sparse.major=1\n"), "a sparse file"),
    "new name for everything": (
        tarfile.TarInfo.create_pax_global_header({"path": "evil"}) + tar(file("f")),
        "renames or changes all that follows",
    ),
    "type nobody knows": (tar(entry("f", b"Q")), "a type that is not understood ('Q')"),
    "noise": (b"noise" * 1000, "is not a tar archive"),
    "half an archive": (tar(file("f", b"x" * 5000))[:3000], "is cut short"),
    "line end in a name": (tar(file("a\nb")), "a line end in its name"),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What an image that escapes by climbing would reach first."""
    secret = tmp_path / "etc"
    secret.mkdir()
    (secret / "passwd").write_text("precious")
    return tmp_path


def refuse(outside: Path, source: Path | str, limits: Limits | None = None) -> UsageError:
    """The error of an import, once nothing is left of it and everything else is as before."""
    home = outside / "home"
    with pytest.raises(UsageError) as caught:
        imports.import_image(home, str(source), "evil", limits=limits)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("cannot import ")
    left = sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))
    assert left == [".import.lock", "trees"]
    assert (outside / "etc" / "passwd").read_text() == "precious"
    assert [one.name for one in (outside / "etc").iterdir()] == ["passwd"]
    return caught.value


@pytest.mark.parametrize(("layer", "says"), LAYERS.values(), ids=LAYERS.keys())
def test_a_hostile_layer_is_refused(outside: Path, layer: bytes, says: str) -> None:
    error = refuse(outside, layout(outside / "image", layer), Limits(entries=2000))
    assert says in error.message
    assert "layer 1 " in error.message or "line end" in says
    assert error.hint


@pytest.mark.parametrize(
    "layers",
    [
        (tar(link("l", "/etc")), tar(file("l/passwd", b"theirs"))),
        (tar(folder("etc"), link("l", "/etc")), tar(folder("l/sub"), file("l/passwd", b"theirs"))),
        (tar(link("l", "/proc/self/root/etc")), tar(file("l/passwd", b"theirs"))),
        (tar(link("passwd", "/etc/passwd")), tar(file("passwd", b"theirs"))),
        (tar(link("l", "/etc")), tar(file(".wh.l", b""), file("passwd", b"theirs"))),
    ],
)
def test_a_link_of_an_image_ends_inside_it(outside: Path, layers: tuple[bytes, ...]) -> None:
    before = Path("/etc/passwd").stat()
    image = imports.import_image(outside / "home", str(layout(outside / "image", *layers)), "held").image
    assert Path("/etc/passwd").stat() == before
    assert any(path.read_bytes() == b"theirs" for path in Path(image.root).rglob("passwd") if not path.is_symlink())


def bomb(pack: Callable[[bytes], bytes]) -> bytes:
    """Zeros, as many as the packed form may at most turn into and some more."""
    return pack(tar(file("zeros", bytes(200 << 20))))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.compress], ids=["gzip", "xz", "zstd"])
def test_a_bomb_is_defused_by_its_ratio(outside: Path, pack: Callable[[bytes], bytes]) -> None:
    (outside / "bomb.tar").write_bytes(bomb(pack))
    assert "times its" in refuse(outside, outside / "bomb.tar").message


def test_ten_gibibytes_of_zeros_in_ten_kilobytes(outside: Path) -> None:
    """gzip within gzip is no tar; one gzip of 10 KB holds 10 MiB at most: what claims more is cut off at its end."""
    info = tarfile.TarInfo("zeros")
    info.size = 10 << 30
    blob = gzip.compress(info.tobuf() + bytes(10 << 20))
    assert len(blob) < 11_000
    maker = LayoutMaker(outside / "image", packed=[blob])
    maker.config["rootfs"]["diff_ids"] = [digest(b"")]
    assert "cut short in the middle of a file" in refuse(outside, maker.write()).message


def test_more_bytes_than_an_image_may_have(outside: Path) -> None:
    source = layout(outside / "image", tar(file("a", os.urandom(1 << 20))), tar(file("b", os.urandom(1 << 20))))
    assert "layer 2 unpacks to more than 1 MiB" in refuse(outside, source, Limits(total_bytes=3 << 19)).message


def bent(bend: Callable[[LayoutMaker], object]) -> Callable[[Path], Path]:
    def make(where: Path) -> Path:
        maker = LayoutMaker(where, tar(folder("etc"), file("etc/f", b"content")))
        bend(maker)
        return maker.write()

    return make


def wrong_layer(maker: LayoutMaker) -> None:
    """The same size and the same content when unpacked: gzip's remark on the operating system is another."""
    blob = maker.folder / "blobs/sha256" / maker.layers[0]["digest"][7:]
    data = bytearray(blob.read_bytes())
    data[9] ^= 1
    blob.write_bytes(data)


def no_layers(maker: LayoutMaker) -> None:
    maker.layers.clear()
    maker.config["rootfs"]["diff_ids"] = []


LAYOUTS: dict[str, tuple[Callable[[LayoutMaker], object], str]] = {
    "wrong digest": (wrong_layer, "layer 1 is not the one named"),
    "wrong size": (lambda maker: maker.layers[0].update(size=1), "where 1 were named"),
    "wrong diff_id": (
        lambda maker: maker.config["rootfs"].update(diff_ids=[digest(b"other")]),
        "unpacks to something else than was named",
    ),
    "missing layer": (lambda maker: maker.layers[0].update(digest=digest(b"other")), "lacks its layer 1"),
    "layer that lies elsewhere": (
        lambda maker: maker.layers[0].update(digest=digest(b"other"), urls=["http://127.0.0.1:1/layer"]),
        "lacks its layer 1",
    ),
    "unknown layer type": (lambda maker: maker.layers[0].update(mediaType="text/plain"), "of the type 'text/plain'"),
    "encrypted layer": (
        lambda maker: maker.layers[0].update(mediaType=GZIP_LAYER + "+encrypted"),
        "unknown here",
    ),
    "digest as a path": (
        lambda maker: maker.layers[0].update(digest="sha256:../../../../etc/passwd"),
        "holds the digest 'sha256:../../../../etc/passwd'",
    ),
    "digest in capitals": (
        lambda maker: maker.layers[0].update(digest=maker.layers[0]["digest"].upper()),
        "holds the digest 'SHA256:",
    ),
    "digest of another kind": (
        lambda maker: maker.layers[0].update(digest="md5:" + "0" * 32),
        "holds the digest 'md5:",
    ),
    "diff_id as a path": (
        lambda maker: maker.config["rootfs"].update(diff_ids=["../../etc"]),
        "holds the digest '../../etc'",
    ),
    "more layers than diff_ids": (
        lambda maker: maker.layers.append(maker.layers[0]),
        "has 2 layers, and its configuration speaks of 1",
    ),
    "manifest and index at once": (lambda maker: maker.manifest.update(manifests=[]), "manifest and an index at once"),
    "no layers": (no_layers, "has 0 layers"),
    "index that is too large": (
        lambda maker: maker.index.update(annotations={"x": "x" * (9 << 20)}),
        "of more than 8 MiB",
    ),
    "index that is no object": (lambda maker: maker.index.update(manifests=7), "index.json that cannot be understood"),
    "empty index": (lambda maker: maker.index.update(manifests=[]), "holds no image"),
    "config of the wrong shape": (
        lambda maker: maker.config.update(rootfs=7),
        "a configuration that cannot be understood",
    ),
    "another machine": (lambda maker: maker.config.update(architecture="z80"), "is for linux/z80"),
}


@pytest.mark.parametrize(("bend", "says"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_bent_layout_is_refused(outside: Path, bend: Callable[[LayoutMaker], object], says: str) -> None:
    assert says in refuse(outside, bent(bend)(outside / "image")).message


def test_the_same_layout_unbent_is_taken(outside: Path) -> None:
    source = bent(lambda _: None)(outside / "image")
    image = imports.import_image(outside / "home", str(source)).image
    assert Path(image.root, "etc/f").read_bytes() == b"content"


def test_json_nested_without_end(outside: Path) -> None:
    source = layout(outside / "image", tar(folder("etc")))
    (source / "index.json").write_text('{"manifests": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert "cannot be understood" in refuse(outside, source).message


def test_a_blob_that_is_a_link_to_the_host(outside: Path) -> None:
    source = layout(outside / "image", tar(folder("etc")))
    blob = max((source / "blobs" / "sha256").iterdir(), key=lambda one: one.read_bytes()[:2] == b"\x1f\x8b")
    blob.unlink()
    blob.symlink_to(outside / "etc" / "passwd")
    assert "lacks its layer 1" in refuse(outside, source).message


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({"Layers": ["../../etc/passwd"]}, "climbs out of its folder"),
        ({"Layers": ["/etc/passwd"]}, "absolute path '/etc/passwd'"),
        ({"Layers": ["link"]}, "which is not there"),
        ({"Layers": ["folder"]}, "which is no file"),
        ({"Config": "../config.json"}, "climbs out of its folder"),
        ({"Config": "missing.json"}, "which is not there"),
        ({"Layers": []}, "has 0 layers, and its configuration speaks of 1"),
    ],
)
def test_a_bent_docker_archive_is_refused(outside: Path, saved: dict[str, object], says: str) -> None:
    layer = tar(folder("etc"))
    config = {"architecture": archives.MACHINE, "os": "linux", "rootfs": {"diff_ids": [digest(layer)]}}
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"], **saved}]
    (outside / "save.tar").write_bytes(
        tar(
            file("layer.tar", layer),
            link("link", "../../../etc/passwd"),
            folder("folder"),
            file("config.json", json.dumps(config).encode()),
            file("manifest.json", json.dumps(manifest).encode()),
        )
    )
    assert says in refuse(outside, outside / "save.tar").message


def test_an_archive_that_climbs_out_of_its_folder(outside: Path) -> None:
    (outside / "evil.tar").write_bytes(tar(file("oci-layout", b"{}"), file("../../etc/passwd")))
    assert "climbs out of its folder" in refuse(outside, outside / "evil.tar").message


def test_noise_cut_anywhere_never_ends_in_a_traceback(outside: Path) -> None:
    whole = gzip.compress(tar(folder("etc"), file("etc/f", os.urandom(3000)), link("l", "etc")), mtime=0)
    for length in range(0, len(whole) - 1, 97):
        (outside / "cut.tar").write_bytes(whole[:length])
        refuse(outside, outside / "cut.tar")


def test_the_command_says_it_in_two_lines(outside: Path) -> None:
    source = layout(outside / "image", tar(file("../evil")))
    done = tare(outside / "home", "image", "import", str(source), "--name", "evil")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert "layer 1 holds the path '../evil'" in done.stderr
    assert done.stdout == ""
    assert "evil" not in tare(outside / "home", "list", "images").stdout


def test_a_source_that_is_no_file(outside: Path) -> None:
    os.mkfifo(outside / "fifo")
    assert "there is no file or folder" in refuse(outside, outside / "fifo").message

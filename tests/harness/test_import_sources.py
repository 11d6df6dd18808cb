"""Images as the tools of others make them, and root file systems in every wrapping: all end up alike in the store."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from harness import agent, images, imports, marks, oci, registry
from harness.contract import Workspace
from harness.errors import TareError, UsageError
from harness.model import Image, Spec
from tests.harness import archives
from tests.harness.archives import OCI, LayoutMaker, digest, file, folder, hard, layout, link, listing, packed, tar
from tests.harness.test_cli import tare

CONFIG = {
    "Env": ["PATH=/bin", "COLOUR=red"],
    "Entrypoint": ["/bin/busybox"],
    "Cmd": ["echo", "hello"],
    "WorkingDir": "/srv",
    "User": "7:8",
    "StopSignal": "SIGQUIT",
    "Labels": {"a": "b"},
}
LOWER = tar(folder("bin"), file("bin/tool", b"#!tool", mode=0o4755), folder("etc"), file("etc/gone"), link("l", "etc"))
UPPER = tar(file("etc/.wh.gone", b""), file("etc/new", b"new"), hard("etc/same", "bin/tool"))


def brought(home: Path, source: Path | str, name: str = "") -> Image:
    return imports.import_image(home, str(source), name).image


def check(image: Image) -> None:
    """The image is whole: what is in the store is what its digests say, inside and out."""
    manifest = Path(image.root + agent.MANIFEST)
    assert digest(manifest.read_bytes()) == image.content_digest
    subprocess.run(["sha256sum", "--quiet", "-c", str(manifest)], cwd=image.root, check=True)
    listed = {line.split(b"  ", 1)[1] for line in manifest.read_bytes().splitlines()}
    there = {os.fsencode(path.relative_to(image.root)) for path in Path(image.root).rglob("*") if is_plain(path)}
    assert there - listed == {agent.MANIFEST.lstrip("/").encode()}
    for layer in image.layers:
        assert digest(Path(layer.path).read_bytes()) == layer.digest
        assert Path(layer.path).stat().st_size == layer.size_bytes


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    maker = LayoutMaker(tmp_path / "app", LOWER, UPPER)
    maker.config["config"] = CONFIG
    return maker.write()


def test_a_layout_is_taken_as_it_is_and_gets_the_agent(tmp_path: Path, source: Path) -> None:
    image = brought(tmp_path / "home", source)
    assert image.name == "app"
    assert [layer.diff_id for layer in image.layers[:-1]] == [digest(LOWER), digest(UPPER)]
    assert [Path(layer.path).read_bytes() for layer in image.layers[:-1]] == [
        gzip.compress(one, mtime=0) for one in (LOWER, UPPER)
    ]
    with tarfile.open(image.layers[-1].path) as last:
        assert last.getnames() == ["tmp", ".tare", ".tare/agent", ".tare/busybox", ".tare/manifest"]
    check(image)
    assert sorted(one.name for one in Path(image.root, "etc").iterdir()) == ["new", "same"]
    assert images.find(tmp_path / "home", "app") == image


def test_an_image_with_a_tmp_of_its_own_keeps_it(tmp_path: Path) -> None:
    image = brought(tmp_path / "home", layout(tmp_path / "app", tar(folder("var/tmp"), link("tmp", "var/tmp"))))
    assert str(Path(image.root, "tmp").readlink()) == "var/tmp"
    with tarfile.open(image.layers[-1].path) as last:
        assert "tmp" not in last.getnames()


def test_what_the_image_wants_to_run_is_known(tmp_path: Path, source: Path) -> None:
    image = brought(tmp_path / "home", source)
    assert image.env == ("PATH=/bin", "COLOUR=red")
    assert (image.entrypoint, image.command) == (("/bin/busybox",), ("echo", "hello"))
    assert (image.working_dir, image.user, image.stop_signal) == ("/srv", "7:8", "SIGQUIT")
    layout = oci.Layout(tmp_path / "home" / "images")
    kept = json.loads(layout.blob(layout.manifest(layout.names()["app"]).config.digest).read_bytes())
    assert kept["config"] == CONFIG


def test_fields_that_builders_write_as_null_are_empty(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "app", LOWER)
    maker.config["config"] = dict.fromkeys(CONFIG)
    image = brought(tmp_path / "home", maker.write())
    assert (image.env, image.entrypoint, image.command, image.working_dir, image.user) == ((), (), (), "", "")


def test_the_same_source_gives_the_same_digest_and_tree(tmp_path: Path, source: Path) -> None:
    first, again = brought(tmp_path / "a", source), brought(tmp_path / "a", source, "again")
    other = brought(tmp_path / "b", source)
    assert first.digest == again.digest == other.digest
    assert listing(Path(first.root)) == listing(Path(other.root))
    assert len(list((tmp_path / "a" / "trees").glob("[!.]*"))) == 1


def test_content_bytes_counts_a_hard_linked_file_once(tmp_path: Path) -> None:
    one = brought(tmp_path / "home", layout(tmp_path / "one", tar(file("a", b"x" * 1000))))
    two = brought(tmp_path / "home", layout(tmp_path / "two", tar(file("a", b"x" * 1000), hard("b", "a"))))
    assert two.content_bytes - one.content_bytes == len(f"{'0' * 64}  b\n")


ROOT = tar(folder("etc"), file("etc/f", b"f"), folder("bin"), file("bin/x", b"x", mode=0o755), link("bin/y", "x"))


def as_folder(where: Path, data: bytes) -> Path:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(where / "root", filter="fully_trusted")
    return where / "root"


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("root.tar", bytes),
        ("root.tar.gz", gzip.compress),
        ("root.tar.zst", zstandard.compress),
        ("root.tar.xz", lzma.compress),
        ("misnamed.tar", gzip.compress),
    ],
)
def test_a_root_file_system_in_every_wrapping(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(pack(ROOT))
    image = brought(tmp_path / "home", tmp_path / name)
    check(image)
    assert image.name == name.partition(".")[0]
    assert image.layers[0].diff_id == digest(ROOT)
    assert Path(image.root, "bin/y").read_bytes() == b"x"
    assert (image.entrypoint, image.command) == ((), ())


@pytest.mark.machine
def test_a_root_file_system_as_a_folder(tmp_path: Path) -> None:
    root = as_folder(tmp_path, ROOT)
    os.link(root / "etc" / "f", root / "etc" / "g")
    os.chown(root / "etc" / "f", 11, 12)
    os.setxattr(root / "etc" / "f", "user.note", b"\xff\0binary")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    (root / "proc").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    try:
        imported = imports.import_image(tmp_path / "home", str(root))
        again = brought(tmp_path / "home", root, "again")
    finally:
        subprocess.run(["umount", str(root / "proc")], check=True)
    check(imported.image)
    assert imported.image.digest == again.digest
    assert imported.left_out == ("1 × device",)
    tree = Path(imported.image.root)
    assert list((tree / "proc").iterdir()) == []
    (root / "null").unlink()
    here, there = (
        {path: what for path, what in listing(one).items() if path[:5] not in (".tare", "proc", "tmp")}
        for one in (tree, root)
    )
    assert here == there
    assert listing(tree)["proc"] == ("drwxr-xr-x", 0, 0, 0, None)
    assert (tree / "etc" / "f").stat().st_ino == (tree / "etc" / "g").stat().st_ino
    assert os.getxattr(tree / "etc" / "f", "user.note") == b"\xff\0binary"


def test_a_folder_with_a_name_that_means_deletion_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / ".wh.passwd").touch()
    with pytest.raises(UsageError, match="means a deleted file"):
        brought(tmp_path / "home", tmp_path / "root")


def several(where: Path) -> Path:
    """A layout with an image for two machines under one name, and another image."""
    maker = LayoutMaker(where, LOWER)
    here = maker.finish_manifest()
    platform = {"os": "linux", "architecture": archives.MACHINE}
    other = {**here, "digest": digest(b"never read"), "platform": {"os": "linux", "architecture": "z80"}}
    index = maker.put_json({"manifests": [other, {**here, "platform": platform}]}, OCI + "index.v1+json")
    lone = LayoutMaker(where, UPPER.replace(b"bin/tool", b"etc/new\0"))
    named = [
        {**index, "annotations": {oci.REF_NAME: "multi"}},
        {**lone.finish_manifest(), "annotations": {oci.REF_NAME: "lone"}},
    ]
    maker.index["manifests"] = named
    return maker.write()


def test_one_of_several_is_picked_by_name_and_by_machine(tmp_path: Path) -> None:
    source = several(tmp_path / "many")
    with pytest.raises(UsageError, match="it has: lone, multi") as caught:
        brought(tmp_path / "home", source)
    assert caught.value.hint == "pick one: SOURCE:NAME"
    assert brought(tmp_path / "home", f"{source}:multi").name == "many:multi"
    assert brought(tmp_path / "home", f"{source}:multi").layers[0].diff_id == digest(LOWER)
    with pytest.raises(UsageError, match="has no image 'other'"):
        brought(tmp_path / "home", f"{source}:other")


def test_a_docker_archive_that_is_also_a_layout_is_read_as_one(tmp_path: Path, source: Path) -> None:
    """As docker save writes it since version 25: the old index beside the new one, over the same blobs."""
    config = next(path for path in (source / "blobs/sha256").iterdir() if b'"rootfs"' in path.read_bytes())
    layers = [one.digest.replace("sha256:", "blobs/sha256/") for one in brought(tmp_path / "home", source).layers[:-1]]
    saved = [{"Config": f"blobs/sha256/{config.name}", "RepoTags": ["app:1"], "Layers": layers}]
    (source / "manifest.json").write_text(json.dumps(saved))
    archive = packed(source, tmp_path / "app.tar")
    both = brought(tmp_path / "home", archive, "both")
    assert both.digest == images.find(tmp_path / "home", "app").digest
    (source / "index.json").unlink()
    (source / "oci-layout").unlink()
    old = brought(tmp_path / "home", packed(source, tmp_path / "old.tar"), "old")
    check(old)
    assert old.content_digest == both.content_digest


def test_a_docker_archive_whose_second_layer_is_a_link_to_the_first(tmp_path: Path) -> None:
    """As old versions of docker save wrote a layer that occurs twice."""
    layer = tar(folder("etc"), file("etc/f", b"f"))
    config = {"architecture": archives.MACHINE, "os": "linux", "rootfs": {"diff_ids": [digest(layer)] * 2}}
    saved = [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    (tmp_path / "save.tar").write_bytes(
        tar(
            *(file("c.json", json.dumps(config).encode()), file("one/layer.tar", layer)),
            *(link("two/layer.tar", "../one/layer.tar"), file("manifest.json", json.dumps(saved).encode())),
        )
    )
    check(brought(tmp_path / "home", tmp_path / "save.tar"))


def test_our_own_image_can_be_imported_again(tmp_path: Path) -> None:
    own = images.build_tiny(tmp_path / "first")
    image = brought(tmp_path / "second", tmp_path / "first" / "images", "own")
    check(image)
    assert image.content_digest == own.content_digest


def tool(*words: str | Path, **env: str) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, env={**os.environ, **env})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A root file system that can run something: the tiny image's own."""
    tree = Path(images.build_tiny(tmp_path / "tiny").root)
    shutil.copytree(tree, tmp_path / "bundle", symlinks=True)
    return tmp_path / "bundle"


@pytest.mark.machine
def test_images_of_umoci_and_skopeo(tmp_path: Path, bundle: Path) -> None:
    work = tmp_path / "unpacked"
    tool("umoci", "init", "--layout", tmp_path / "umoci")
    name = f"{tmp_path / 'umoci'}:app"
    tool("umoci", "new", "--image", name)
    tool("umoci", "unpack", "--image", name, work)
    shutil.copytree(bundle, work / "rootfs", symlinks=True, dirs_exist_ok=True)
    (work / "rootfs" / "etc" / "first").write_text("1")
    tool("umoci", "repack", "--refresh-bundle", "--image", name, work)
    (work / "rootfs" / "etc" / "first").unlink()
    (work / "rootfs" / "etc" / "second").write_text("2")
    tool("umoci", "repack", "--image", name, work)
    tool("umoci", "config", "--image", name, "--config.cmd", "/bin/sh", "--config.user", "root")
    image = brought(tmp_path / "home", name)
    check(image)
    assert (len(image.layers), image.command, image.user) == (3, ("/bin/sh",), "root")
    assert not Path(image.root, "etc", "first").exists()
    assert Path(image.root, "etc", "second").read_text() == "2"

    for target in (f"oci-archive:{tmp_path / 'a.tar'}:app", f"docker-archive:{tmp_path / 'd.tar'}:some/app:1"):
        tool("skopeo", "copy", "--quiet", f"oci:{name}", target)
    assert brought(tmp_path / "home", tmp_path / "a.tar").digest == image.digest
    docker = brought(tmp_path / "home", tmp_path / "d.tar")
    check(docker)
    assert docker.content_digest == image.content_digest
    assert [layer.diff_id for layer in docker.layers] == [layer.diff_id for layer in image.layers]


@pytest.mark.machine
def test_images_of_buildah(tmp_path: Path, bundle: Path) -> None:
    """Without a daemon and without a network; its RUN steps in a chroot."""
    env = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    buildah = ("buildah", "--root", tmp_path / "store", "--runroot", tmp_path / "run")
    (tmp_path / "Containerfile").write_text(
        "FROM scratch\nCOPY bundle /\n"
        'RUN ["/bin/sh", "-c", "mkdir /x && echo made >/x/y && rm /etc/group && ln /x/y /x/z"]\n'
        'USER nobody\nWORKDIR /x\nENV A=b\nENTRYPOINT ["/bin/cat"]\nCMD ["y"]\n'
    )
    ignore = tmp_path / ".dockerignore"
    ignore.write_text("*\n!bundle\n")
    tool(*buildah, "build", "--quiet", "--layers", "--tag", "app", tmp_path, **env)
    try:
        for target in (f"oci:{tmp_path / 'layout'}:app", f"docker-archive:{tmp_path / 'app.tar'}:app:latest"):
            tool(*buildah, "push", "--quiet", "localhost/app", target, **env)
    finally:
        tool(*buildah, "rmi", "--all", "--force", **env)
    image = brought(tmp_path / "home", tmp_path / "layout")
    check(image)
    assert Path(image.root, "x", "z").read_text() == "made\n"
    assert not Path(image.root, "etc", "group").exists()
    assert (image.entrypoint, image.command) == (("/bin/cat",), ("y",))
    assert (image.user, image.working_dir) == ("nobody", "/x")
    assert "A=b" in image.env
    assert brought(tmp_path / "home", tmp_path / "app.tar").content_digest == image.content_digest


@pytest.mark.machine
@pytest.mark.parametrize("name", ["native", "container"])
def test_an_image_without_a_shell_runs(tmp_path: Path, name: str) -> None:
    """Nothing in it but one file: the agent brings what it needs."""
    image = brought(tmp_path, layout(tmp_path / "scratch-image", tar(file("data", b"content"))), "bare")
    with marks.claimed(marks.new_id()) as mark:
        scratch = tmp_path / "scratch" / mark
        scratch.mkdir(parents=True)
        runtime = registry.runtime(name, Workspace(store=tmp_path, scratch=scratch, mark=mark))
        support = runtime.probe()
        if not support.available:  # the container, where tests are not run as root
            pytest.skip(f"{name}: {support.reason}")
        try:
            with runtime.start(Spec(name=f"{mark}-1", prepared=runtime.prepare(image))) as box:
                box.wait_ready(30)
                place = image.root if name == "native" else ""
                assert box.run(["busybox", "cat", f"{place}/data"], 30).stdout == b"content"
        finally:
            runtime.close()


def test_the_commands(tmp_path: Path, source: Path) -> None:
    done = tare(tmp_path / "home", "image", "import", str(source), "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine  sha256:")
    assert "mine" in tare(tmp_path / "home", "list", "images").stdout
    shown = tare(tmp_path / "home", "image", "show", "mine").stdout
    assert "runs     /bin/busybox echo hello" in shown
    assert shown.count("layer ") == 3
    assert tare(tmp_path / "home", "image", "rm", "mine").returncode == 0
    assert "mine" not in tare(tmp_path / "home", "list", "images").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["image", "import", "missing.tar"], "there is no file or folder missing.tar"),
        (["image", "import", "/etc", "--name", "../x"], "'../x' cannot be the name of an image"),
        (["image", "show", "missing"], "tare image import SOURCE --name missing"),
        (["image", "pull", "--", "-x"], "is not a reference"),
        (["image", "pull", "docker://host/x"], "is not a reference"),
    ],
)
def test_a_mistake_is_two_lines(tmp_path: Path, words: list[str], says: str) -> None:
    done = tare(tmp_path, *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2)
    assert says in done.stderr


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("dir/app", "app"),
        ("dir/app/", "app"),
        ("app.tar", "app"),
        ("app-1.2.tar.gz", "app-1.2"),
        ("app.oci.tar", "app"),
        ("layout:tag", "layout:tag"),
        ("host:5000/group/app:latest", "app"),
        ("host:5000/group/app:1.0", "app:1.0"),
        ("a b+c.tar.zst", "a-b-c"),
    ],
)
def test_a_name_comes_from_the_source(source: str, name: str) -> None:
    assert imports.default_name(source) == name


@pytest.mark.machine
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = layout(tmp_path / "image", tar(file("big", os.urandom(6 << 20))))
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(TareError, match="no space left"):
            brought(small, source)
        assert sorted(path.name for path in small.rglob("*")) == [".import.lock", "trees"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_a_killed_import_left_the_next_one_removes(tmp_path: Path, source: Path) -> None:
    big = layout(tmp_path / "big", tar(*(file(f"f{number}", b"x" * 1000) for number in range(20_000))))
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "image", "import", str(big)],
        env={**os.environ, "TARE_HOME": str(tmp_path / "home")},
    )
    work = tmp_path / "home" / "trees" / ".import"
    deadline = time.monotonic() + 30
    while not (work / "tree").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert work.exists()
    brought(tmp_path / "home", source)
    assert not work.exists()
    assert [image.name for image in images.stored(tmp_path / "home")] == ["app"]

"""Images are reproducible, whole or absent, and hold what their manifest says."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from harness import agent, images, kernels, paths, removal
from harness.errors import TareError, UsageError


def test_the_same_input_gives_the_same_digest(tmp_path: Path) -> None:
    first, second = images.build_tiny(tmp_path / "a"), images.build_tiny(tmp_path / "b")
    assert first.digest == second.digest
    assert first.content_digest == second.content_digest


def test_it_is_a_standard_oci_layout(tmp_path: Path) -> None:
    image = images.build_tiny(tmp_path)
    layout = tmp_path / "images"
    assert msgspec.json.decode((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (descriptor,) = msgspec.json.decode((layout / "index.json").read_bytes())["manifests"]
    manifest_bytes = (layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(manifest_bytes).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    for layer in image.layers:
        packed = Path(layer.path).read_bytes()
        assert f"sha256:{hashlib.sha256(packed).hexdigest()}" == layer.digest
        assert f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}" == layer.diff_id


def test_the_tree_is_what_the_layers_hold(tmp_path: Path) -> None:
    image = images.build_tiny(tmp_path)
    for layer in image.layers:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(Path(layer.path).read_bytes()))) as archive:
            for member in archive:
                path = Path(image.root, member.name)
                assert path.is_symlink() == member.issym()
                if member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None
                    assert path.read_bytes() == file.read()
                if not member.issym():
                    assert path.stat().st_mode & 0o7777 == member.mode


def test_the_manifest_inside_checks_out(tmp_path: Path) -> None:
    image = images.build_tiny(tmp_path)
    manifest = Path(image.root + agent.MANIFEST)
    assert f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}" == image.content_digest
    subprocess.run(["sha256sum", "--quiet", "-c", str(manifest)], cwd=image.root, check=True)


def test_an_image_that_was_not_built_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image named 'other'") as caught:
        images.find(tmp_path, "other")
    assert "tare image build other" in caught.value.hint


def test_removing_leaves_what_another_image_shares(tmp_path: Path) -> None:
    images.build_tiny(tmp_path)
    shared = files(tmp_path)
    other = images.build_tiny(tmp_path, name="other", script="exit 1\n")
    own = files(tmp_path) - shared
    freed_bytes = removal.remove(tmp_path, "other")
    assert files(tmp_path) == shared
    assert freed_bytes >= sum(size for _, size in own) > other.layers[-1].size_bytes
    assert removal.remove(tmp_path, "tiny") > other.content_bytes
    assert files(tmp_path) == set()
    assert list(images.stored(tmp_path)) == []


def test_a_second_name_keeps_all_of_it(tmp_path: Path) -> None:
    images.build_tiny(tmp_path)
    before = files(tmp_path)
    images.build_tiny(tmp_path, name="other")
    assert removal.remove(tmp_path, "tiny") == 0
    assert files(tmp_path) == before


@pytest.mark.machine
def test_an_image_that_a_process_runs_on_stays(tmp_path: Path) -> None:
    root = images.build_tiny(tmp_path).root
    with subprocess.Popen(["chroot", root, "/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"x\n")
        process.stdin.flush()
        process.stdout.readline()
        with pytest.raises(UsageError, match=f"process {process.pid} runs on image tiny"):
            removal.remove(tmp_path, "tiny")
        process.stdin.close()
    assert images.find(tmp_path, "tiny").root == root


@pytest.mark.machine
def test_what_a_name_has_moved_on_from_stays_while_a_box_is_on_it(tmp_path: Path) -> None:
    """In a folder whose name the kernel shows otherwise, and by an overlay."""
    home = tmp_path / "a home"
    old = images.build_tiny(home)
    images.build_tiny(home, script="exit 1\n")
    images.build_tiny(home, name="other", script="exit 2\n")
    layers = f"lowerdir={old.root},upperdir=/run/up,workdir=/run/work"
    script = (
        f"mount -t tmpfs x /run && mkdir /run/up /run/work && mount -t overlay -o '{layers}' x /mnt && echo in && cat"
    )
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as box:
        assert box.stdin and box.stdout and box.stdout.readline() == b"in\n"
        removal.remove(home, "other")
        assert Path(old.root, "bin").exists()
        box.stdin.close()
    removal.remove(home, "tiny")
    assert not Path(old.root).exists()


def files(home: Path) -> set[tuple[Path, int]]:
    """What the store holds of images, with sizes."""
    rooms = (home / "trees", home / "images" / "blobs")
    return {(path, path.lstat().st_size) for room in rooms for path in room.rglob("*") if not path.is_dir()}


def test_a_draft_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), paths.whole_or_nothing(tmp_path / "entry") as draft:
        (draft / "half").write_text("written")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.machine
def test_a_full_disk_is_named_and_leaves_no_half_entry(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(TareError, match="no space left"):
            images.build_tiny(small)
        assert not any((small / "trees").glob("*")) if (small / "trees").exists() else True
        assert list(images.stored(small)) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_is_not_a_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a kernel")
    with pytest.raises(UsageError, match="is not a kernel"):
        kernels.check(tmp_path / "text")
    with pytest.raises(UsageError, match="cannot read the kernel"):
        kernels.check(tmp_path / "missing")
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(600))
    with pytest.raises(UsageError, match=r"no modules\.dep"):
        kernels.chosen(tmp_path, str(tmp_path / "elf"), "")

"""Pulling, from a real registry on loopback that lives as long as this module."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import images, paths, pull
from harness.errors import UsageError
from tests.harness.test_cli import tare

CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a registry that holds our own tiny image as group/tiny:1."""
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    (folder / "config.yml").write_text(CONFIG.format(folder=folder / "blobs", port=port))
    images.build_tiny(folder / "home")
    with subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")], stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(port)
            subprocess.run(
                [
                    *("skopeo", "copy", "--quiet", "--dest-tls-verify=false"),
                    *(f"oci:{folder / 'home' / 'images'}:tiny", f"docker://127.0.0.1:{port}/group/tiny:1"),
                ],
                check=True,
            )
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError("the registry does not listen")


def test_an_image_comes_back_as_it_was_pushed(tmp_path: Path, registry: str) -> None:
    own = images.build_tiny(tmp_path / "own")
    image = pull.pull(tmp_path, f"{registry}/group/tiny:1").image
    assert image.name == "tiny:1"
    assert [layer.digest for layer in image.layers[:-1]] == [layer.digest for layer in own.layers]
    assert image.content_digest == own.content_digest
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".pull")] == []


def test_what_a_killed_pull_left_goes_and_what_another_is_at_stays(tmp_path: Path, registry: str) -> None:
    left, busy = tmp_path / ".pull-left", tmp_path / ".pull-busy"
    (left / "image").mkdir(parents=True)
    busy.mkdir()
    with paths.locked(busy / "lock"):
        pull.pull(tmp_path, f"{registry}/group/tiny:1")
    assert not left.exists()
    assert busy.exists()


def test_limits_can_be_said(tmp_path: Path, registry: str) -> None:
    done = tare(tmp_path, "image", "pull", f"{registry}/group/tiny:1", "--most-bytes", "1000000")
    assert done.returncode == 2
    assert "unpacks to more than" in done.stderr
    assert "Traceback" not in done.stderr


def test_by_digest_and_under_another_name(tmp_path: Path, registry: str) -> None:
    digest = images.build_tiny(tmp_path / "own").digest
    assert pull.pull(tmp_path, f"{registry}/group/tiny@{digest}", "other").image.name == "other"


def test_the_command(tmp_path: Path, registry: str) -> None:
    done = tare(tmp_path, "image", "pull", f"{registry}/group/tiny:1", "--name", "pulled")
    assert (done.returncode, done.stdout[:15]) == (0, "pulled  sha256:")
    assert "pulled" in tare(tmp_path, "list", "images").stdout


@pytest.mark.parametrize(
    ("path", "says", "hint"),
    [("group/tiny:2", "manifest unknown", "check the name"), ("nobody/nothing:1", "", "check the name")],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, registry: str, path: str, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        pull.pull(tmp_path, f"{registry}/{path}")
    assert caught.value.message.startswith(f"cannot pull {registry}/{path}: ")
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [".import.lock"]


def test_a_registry_that_is_down_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="connection refused") as caught:
        pull.pull(tmp_path, f"127.0.0.1:{free_port()}/group/tiny:1")
    assert caught.value.hint == "is the registry up, and its name right?"


@pytest.mark.parametrize(
    ("reference", "checked"),
    [
        ("localhost:5000/a", False),
        ("127.0.0.1/a", False),
        ("[::1]:5000/a", False),
        ("localhost.example:5000/a", True),
        ("127.0.0.1.example/a", True),
        ("registry.example/localhost/a", True),
    ],
)
def test_certificates_are_checked_but_on_loopback(reference: str, checked: bool) -> None:
    assert ("--src-tls-verify=false" not in pull.command(reference, Path("/target"))) is checked


def test_without_skopeo_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exception, match="skopeo is not installed") as caught:
        pull.pull(tmp_path, "registry.example/a")
    assert "apt-get install skopeo" in str(getattr(caught.value, "hint", ""))

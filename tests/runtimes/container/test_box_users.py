"""Who a name of an image is: read from outside, strictly, and never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from runtimes.container import users


@pytest.fixture
def root(tmp_path: Path) -> Path:
    etc = tmp_path / "image" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/false\nbroken\n")
    (etc / "group").write_text("root:x:0:\nwww:x:44:\nlogs:x:55:other,web\nmore:x:66:web\n")
    return tmp_path / "image"


@pytest.mark.parametrize(
    ("said", "ids", "home"),
    [
        ("", (0, 0), "/root"),
        ("root", (0, 0), "/root"),
        ("web", (33, 44, 55, 66), "/srv"),
        ("33", (33, 44, 55, 66), "/srv"),
        ("web:logs", (33, 55), "/srv"),
        ("web:7", (33, 7), "/srv"),
        ("1000", (1000, 0), "/"),
        ("1000:1000", (1000, 1000), "/"),
    ],
)
def test_names_and_numbers(root: Path, said: str, ids: tuple[int, ...], home: str) -> None:
    assert users.find(root, said) == users.User(ids, home)


@pytest.mark.parametrize("said", ["nobody", "-1", "+0", "0x0", "٣", "4294967295", "web:nobody", "web:-1", " 0"])
def test_what_is_neither_is_refused(root: Path, said: str) -> None:
    with pytest.raises(UsageError):
        users.find(root, said)


def test_links_fifos_and_huge_files_are_not_read(root: Path, tmp_path: Path) -> None:
    passwd = root / "etc" / "passwd"
    passwd.unlink()
    outside = tmp_path / "passwd"
    outside.write_text("web:x:1:1::/:\n")
    passwd.symlink_to(outside)
    with pytest.raises(UsageError):
        users.find(root, "web")
    passwd.unlink()
    os.mkfifo(passwd)
    with pytest.raises(UsageError):
        users.find(root, "web")
    passwd.unlink()
    with passwd.open("w") as file:
        file.truncate(2 << 20)
    with pytest.raises(UsageError):
        users.find(root, "web")

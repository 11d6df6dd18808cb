"""Debian as an image: how it is asked for, and, on a machine that can, that it is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import debian, images


def test_the_command_names_what_goes_in_and_what_is_left_out() -> None:
    command = debian.command(Path("/x/debian.tar"))
    assert command[0] == "mmdebstrap" and command[-1] == "/x/debian.tar"
    (included,) = (word for word in command if word.startswith("--include="))
    assert {"systemd-sysv", "stress-ng", "sysbench", "fio", "iperf3", "nginx-light", "redis-server"} <= set(
        included.removeprefix("--include=").split(",")
    )
    assert any('"$1/var/log/wtmp"' in word and word.startswith("--customize-hook=rm") for word in command)


@pytest.mark.machine
@pytest.mark.slow
def test_it_is_built_and_named(tmp_path: Path) -> None:
    built = debian.build(tmp_path).image
    assert images.find(tmp_path, "debian") == built
    root = Path(built.root)
    assert (root / "usr/lib/systemd/systemd").is_file()
    assert (root / "etc/machine-id").read_text().strip() == "74617265000040008000000000000001"
    for program in ("stress-ng", "sysbench", "fio", "iperf3", "redis-server"):
        assert (root / "usr/bin" / program).exists(), program
    assert not list((root / "boot").glob("vmlinuz*"))
    assert not list(tmp_path.glob(".debian-*"))

"""An ssh server of our own on loopback: own keys, own home of the account that logs in, own mount namespace."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 20.0
SERVE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=700 tmpfs ~root
mkdir -m 700 ~root/.ssh
cp "$1/key.pub" ~root/.ssh/authorized_keys
mount -t tmpfs tmpfs /run
mkdir /run/libvirt
: >/run/libvirt/libvirt-sock
mount --bind "$3" /run/libvirt/libvirt-sock
exec dropbear -F -E -s -p 127.0.0.1:"$2" -r "$1/host" -P "$1/pid"
"""
CLIENT = """\
#!/bin/sh
# The real ssh, without a word from or to the configuration of whoever runs the tests.
exec ssh -F none -o UserKnownHostsFile={folder}/known -o IdentitiesOnly=yes -o IdentityAgent=none "$@"
"""


@dataclass(frozen=True, slots=True)
class Server:
    folder: Path
    port: int

    def uri(self, key: str = "key") -> str:
        """How somebody who has that key would name the libvirt there."""
        ours = f"keyfile={self.folder / key}&command={self.folder}/client&no_verify=1"
        return f"qemu+ssh://root@127.0.0.1:{self.port}/system?{ours}"


@contextmanager
def running(folder: Path, libvirt: Path) -> Iterator[Server]:
    """Until the block ends. Who has `folder`/key is let in, nobody by a password, and finds the daemon of `libvirt`."""
    for name in ("key", "stranger"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    _run("dropbearkey", "-t", "ed25519", "-f", str(folder / "host"))
    client = folder / "client"
    client.write_text(CLIENT.format(folder=folder))
    client.chmod(0o755)
    port = _free_port()
    argv = ["unshare", "--mount", "sh", "-c", SERVE, "serve", str(folder), str(port), str(libvirt)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "HOME": "/root"})
    try:
        _wait_for(port, server, folder / "log")
        yield Server(folder, port)
    finally:
        server.terminate()
        server.wait()


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert server.poll() is None and time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.05)

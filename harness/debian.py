"""Debian with systemd as an image, and the programs that scenarios measure with; built by Debian's own tools.

It holds no kernel: a virtual machine brings one, other boxes have the host's. Where a box starts systemd, that is what
people call a virtual machine; where it starts the agent alone, the same files are a container.

A few files are left out because the system writes them when it starts: it would no longer be what the image says.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness import imports, log, proc
from harness.imports import Imported

NAME = "debian"
PACKAGES = (
    *("systemd-sysv", "dbus", "udev", "kmod", "procps", "iproute2"),
    *("stress-ng", "sysbench", "fio", "iperf3", "nginx-light", "redis-server"),
)
_SERVICES = ("nginx", "redis-server")
_MACHINE_ID = "74617265000040008000000000000001"
"""Fixed: a system without one takes its first start for its installation, switches on every service there is, and
waits for a network."""

_WRITTEN_AT_START = ("var/log/wtmp", "var/log/btmp", "var/log/lastlog")
_LEFT_BEHIND = (
    *("etc/resolv.conf", "etc/hostname", "var/cache/ldconfig/aux-cache", "var/log/dpkg.log", "var/log/bootstrap.log"),
    *("var/log/alternatives.log", "var/log/apt/history.log", "var/log/apt/term.log"),
    *("var/log/apt/eipp.log.xz", "var/lib/dbus/machine-id"),
)
"""What building it took from this host, or made for itself alone."""

_TIMEOUT_S = 1800.0


def build(home: Path) -> Imported:
    """Downloads and unpacks some hundred packages, which takes a minute or two; nothing is installed on this host."""
    log.say("building a Debian system (kept in the store, not installed)")
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".debian-", dir=home) as folder:
        archive = Path(folder) / f"{NAME}.tar"
        hint = "apt-get install mmdebstrap; downloads by apt must work"
        env = {**os.environ, "SOURCE_DATE_EPOCH": "0", "TMPDIR": folder}
        Path(folder).chmod(0o755)  # apt's own user must get through
        proc.run(command(archive), timeout_s=_TIMEOUT_S, env=env, hint=hint)
        return imports.import_image(home, str(archive), NAME, shown=f"the {NAME} that was just built")


def command(archive: Path) -> list[str]:
    """What is run. Services stand still unless somebody starts them: an idle box is idle."""
    unwanted = " ".join(f'"$1/{path}"' for path in (*_WRITTEN_AT_START, *_LEFT_BEHIND))
    return [
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
        f'--customize-hook=chroot "$1" systemctl disable {" ".join(_SERVICES)}',
        f'--customize-hook=echo {_MACHINE_ID} >"$1/etc/machine-id"',
        f"--customize-hook=rm -f {unwanted}",
        "--skip=cleanup/reproducible",  # it would empty the machine id; the rest of what it does is done above
        *("--format=tar", _suite(), str(archive)),
    ]


def _suite() -> str:
    """The release of this host, where it is Debian."""
    fields = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", "stable") if fields.get("ID") == NAME else "stable"

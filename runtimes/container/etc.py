"""A box's own /etc/hosts, /etc/hostname and /etc/resolv.conf, written into its upper layer before it starts.

So nothing is mounted over the image's files, a read-only root shows them too, and no path of the image is followed: an
image whose /etc is a link gets a folder there instead. A box without any network keeps the image's files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runtimes.bridge.netlink import Link
from runtimes.bridge.network import HOST, NAT, NONE

_LOOPBACK_NAMES = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_LOCAL_RESOLVERS = ("127.", "::1")


def write(upper: Path, lower: Path, name: str, network: str, link: Link | None) -> None:
    """`lower` is the image's tree, whose /etc lends mode and owner."""
    if network == NONE:
        return
    files = {
        "hostname": f"{name}\n",
        "hosts": _LOOPBACK_NAMES + f"{link.address if link else '127.0.1.1'} {name}\n",
        "resolv.conf": resolvers(Path("/etc/resolv.conf"), network),
    }
    etc = upper / "etc"
    facts = _folder_facts(f"{lower}/etc")
    etc.mkdir()
    etc.chmod(stat.S_IMODE(facts.st_mode) if facts else 0o755)  # said apart: we may have any umask
    if facts and (facts.st_uid or facts.st_gid):
        os.chown(etc, facts.st_uid, facts.st_gid)
    for file, text in files.items():
        descriptor = os.open(etc / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def resolvers(host: Path, network: str) -> str:
    """The host's, as far as the box can reach them: with a bridge alone there are none to be had."""
    if network not in (NAT, HOST) or not host.exists():
        return ""
    lines = host.read_text(errors="replace").splitlines(keepends=True)
    if network == HOST:
        return "".join(lines)
    return "".join(line for line in lines if not _is_local(line.split()))


def _is_local(words: list[str]) -> bool:
    return words[:1] == ["nameserver"] and len(words) > 1 and words[1].startswith(_LOCAL_RESOLVERS)


def _folder_facts(path: str) -> os.stat_result | None:
    """None for what is no folder itself."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return None
    return facts if stat.S_ISDIR(facts.st_mode) else None

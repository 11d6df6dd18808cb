"""URIs that people name a libvirt by, such as `qemu:///system` or `qemu+ssh://root@localhost/system`."""

from __future__ import annotations

from urllib.parse import urlsplit


def embedded(uri: str) -> bool:
    """Whether it names a driver in this very process, as ours is without a URI."""
    return urlsplit(uri).path == "/embed"


def unattended(uri: str) -> str:
    """The same, but that ssh asks nobody for a password or whether a host is known: it fails instead of waiting."""
    if not _by_ssh(uri):
        return uri
    address, _, words = uri.partition("?")
    others = [word for word in words.split("&") if word and not word.startswith("no_tty=")]
    return f"{address}?{'&'.join([*others, 'no_tty=1'])}"


def remedy(uri: str) -> str:
    """What to do where nothing answers."""
    if _by_ssh(uri):
        host = urlsplit(uri).netloc
        return f"it must let you in without a question, and know your key: try ssh -o BatchMode=yes ssh://{host}"
    return "is that daemon running, and may you talk to it? Leave the option uri out to need none"


def _by_ssh(uri: str) -> bool:
    return urlsplit(uri).scheme.partition("+")[2] == "ssh"

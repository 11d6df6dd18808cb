"""What a bridge of ours leaves on the host, who uses it, and how all of it is taken away again.

A bridge belongs to a mark, and its name is a hash of it, since the kernel allows 15 characters. Before anything is
made there is a folder for it beside the marks' locks: its `lock` is held (shared) by every process that uses the
bridge, and one file per address in use holds the name of the box that has it. A folder whose lock nobody holds is
left-over; a link or a table that only looks like ours has no folder and is never touched. One host-wide lock, taken by
whoever makes or takes away, keeps the two apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import marks, paths, proc
from harness.errors import TareError, Unsupported
from runtimes.bridge import forwarding, netlink

NFT_HINT = "apt-get install nftables, or use the network bridge"
PREFIX = 20
"""4,093 boxes: an address is used again only when the links of the box that had it are long gone."""

_FOLDERS = "net-"
_SPECIAL = ("lock", "mark", "namespace", "nat")


def name_of(mark: str) -> str:
    return f"tare-{hashlib.sha256(mark.encode()).hexdigest()[:8]}"


def port_of(box: str) -> str:
    """The host's end of a box's link."""
    return f"tarev{hashlib.sha256(box.encode()).hexdigest()[:10]}"


def table_of(bridge: str) -> str:
    """Its own table of the packet filter, whose names hold no dash."""
    return bridge.replace("-", "_")


def folder_of(bridge: str) -> Path:
    return marks.folder() / f"{_FOLDERS}{bridge}"


def changing() -> contextlib.AbstractContextManager[bool]:
    """Held while a bridge is made or taken away: one at a time on this host."""
    return paths.locked(marks.folder() / "network")


class Hold:
    """One process's use of a bridge. To be made, closed and asked while `changing`."""

    def __init__(self, bridge: str, mark: str) -> None:
        self._bridge = bridge
        folder = folder_of(bridge)
        if not folder.exists():
            with paths.whole_or_nothing(folder) as draft:
                (draft / "mark").write_text(mark)
                (draft / "namespace").write_text(_own_namespace())
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.alone = _exclusive(self._lock)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def close(self) -> None:
        """The last one takes the bridge away."""
        if _exclusive(self._lock):
            dismantle(self._bridge)
        os.close(self._lock)


def dismantle(bridge: str) -> None:
    """Takes away all there is of it, in the reverse order of its making. Harmless on what was never made."""
    folder = folder_of(bridge)
    if (folder / "nat").exists():
        remove_table(bridge)
        forwarding.release(bridge)
    netlink.delete_link(bridge)
    shutil.rmtree(folder)


def remove_table(bridge: str) -> None:
    """`add` first: deleting a table that was never made is an error otherwise."""
    with contextlib.suppress(Unsupported):  # no nft, so no table either
        nft(f"add table ip {table_of(bridge)}; delete table ip {table_of(bridge)}")


def nft(commands: str) -> None:
    proc.run(["nft", commands], hint=NFT_HINT)


@contextmanager
def leased(bridge: str, box: str, addresses: Iterator[int]) -> Iterator[str]:
    """The first of these addresses that no other box has, for as long as the block runs."""
    folder = folder_of(bridge)
    for number in addresses:
        address = socket.inet_ntoa(struct.pack("!I", number))
        with contextlib.suppress(FileExistsError):
            lease = os.open(folder / address, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            break
    else:
        raise Unsupported(f"every address of the bridge {bridge} is in use", hint="stop some boxes, or: tare sweep")
    os.write(lease, box.encode())
    os.close(lease)
    try:
        yield address
    finally:
        (folder / address).unlink(missing_ok=True)


def sweep(live: Callable[[str], bool]) -> Iterator[str]:
    """Takes away bridges nobody uses any more, and gives back addresses of boxes that are gone."""
    with changing():
        for folder in sorted(marks.folder().glob(f"{_FOLDERS}*")):
            if (folder / "namespace").read_text() != _own_namespace():
                continue  # out of reach from here
            bridge = folder.name.removeprefix(_FOLDERS)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if _exclusive(lock):
                    yield _swept(bridge)
                else:
                    yield from _forgotten_leases(folder, live)
            finally:
                os.close(lock)


def _swept(bridge: str) -> str:
    try:
        dismantle(bridge)
    except (OSError, TareError) as error:
        return f"could not remove bridge {bridge}: {error}"
    return f"removed bridge {bridge}"


def _forgotten_leases(folder: Path, live: Callable[[str], bool]) -> Iterator[str]:
    for lease in sorted(folder.iterdir()):
        if lease.name not in _SPECIAL and (box := lease.read_text()) and not live(box):
            lease.unlink(missing_ok=True)
            yield f"gave back address {lease.name} of {box}"


def _own_namespace() -> str:
    return str(Path("/proc/self/ns/net").stat().st_ino)


def _exclusive(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

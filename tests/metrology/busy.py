"""Boxes that are nothing but a real child process which is busy for a planted time and then says one byte.

Children are forked by a small helper, so that starting one takes the same short time whatever the tests have loaded.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.cgroups import Cgroup
from harness.contract import Completed
from harness.errors import TrialTimeout
from harness.model import Image, Phase, Prepared, Spec, Support

_HELPER = """
import os, struct, time
while data := os.read(0, 8):
    (delay_s,) = struct.unpack("d", data)
    child = os.fork()
    if not child:
        end_s = time.monotonic() + delay_s
        while time.monotonic() < end_s:
            pass
        os.write(1, b"!")
        os._exit(0)
    os.waitpid(child, 0)
"""


class BusyInstance:
    cgroup: Cgroup | None = None
    address: str | None = None
    disk_paths: Sequence[Path] = ()

    def __init__(self, name: str, output: int) -> None:
        self.name = name
        self._output = output

    def wait_ready(self, timeout_s: float) -> None:
        if not select.select([self._output], [], [], timeout_s)[0]:
            raise TrialTimeout("the child said nothing")
        os.read(self._output, 1)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        raise NotImplementedError("it can only be busy")

    def pids(self) -> frozenset[int]:
        return frozenset()

    def phases(self) -> Sequence[Phase]:
        return ()

    def documents(self) -> Mapping[str, str]:
        return {}

    def stop(self) -> None:
        """The child ends by itself."""


class BusyRuntime:
    """`delays` are what its boxes take, one after the other, in seconds. A context manager: it holds the helper."""

    def __init__(self, name: str, delays: Iterator[float]) -> None:
        self.name = name
        self.prepared = Prepared(
            image=Image(name="", digest="", content_digest="", content_bytes=0, layers=(), root=""), artifacts=()
        )
        self._delays = delays

    def __enter__(self) -> BusyRuntime:
        self._helper = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._helper.communicate()

    def probe(self) -> Support:
        return Support(available=True)

    def prepare(self, image: Image) -> Prepared:
        return self.prepared

    @contextmanager
    def start(self, spec: Spec) -> Iterator[BusyInstance]:
        assert self._helper.stdin is not None and self._helper.stdout is not None
        self._helper.stdin.write(struct.pack("d", next(self._delays)))
        yield BusyInstance(spec.name, self._helper.stdout.fileno())

    def close(self) -> None:
        """The helper is held by the `with` block."""

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        return ()

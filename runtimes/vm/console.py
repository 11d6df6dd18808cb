"""The guest's serial console: kept for error messages, and watched for words that say how far the start has come."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable

_KEEP_BYTES = 1 << 16
_TAIL_CHARACTERS = 6000
"""A panic's first line comes before its registers and its trace, which are long."""
_LAST_WORDS_S = 0.2


class Console:
    """Reads a connected socket in a thread until the other side closes it; owns the socket.

    `arrived_s` is the host's monotonic clock when a marker had arrived, 0.0 before. The thread sleeps in the kernel
    unless the guest prints, and a quiet guest prints nothing after the last marker.
    """

    def __init__(
        self, connection: socket.socket, markers: Iterable[bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._awaited = set(markers)
        self._arrived_s: dict[bytes, float] = {}
        self._clock = clock
        self._text = bytearray()
        self._thread = threading.Thread(target=self._read, name="tare-console", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self._receive():
            now_s = self._clock()
            self._text += data
            for marker in [one for one in self._awaited if one in self._text]:
                self._arrived_s[marker] = now_s
                self._awaited.remove(marker)
            del self._text[:-_KEEP_BYTES]

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(4096)
        except OSError:  # QEMU was killed with bytes in flight
            return b""

    def arrived_s(self, marker: bytes) -> float:
        return self._arrived_s.get(marker, 0.0)

    def tail(self) -> str:
        """What was printed last; waits a moment for the last words of a box that has just ended."""
        self._thread.join(_LAST_WORDS_S)
        return bytes(self._text).decode(errors="replace")[-_TAIL_CHARACTERS:]

    def close(self) -> None:
        """Ends the thread and closes the socket."""
        with contextlib.suppress(OSError):  # the other side was first
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

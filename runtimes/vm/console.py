"""The guest's serial console: kept for error messages, and watched for init's first words."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

_KEEP_BYTES = 1 << 16
_TAIL_CHARACTERS = 6000
"""A panic's first line comes before its registers and its trace, which are long."""
_LAST_WORDS_S = 0.2


class Console:
    """Reads a connected socket in a thread until the other side closes it; owns the socket.

    `marked_at_s` is the host's monotonic clock when the marker had arrived, 0.0 before. The thread sleeps in the
    kernel unless the guest prints, and a quiet guest prints nothing after the marker.
    """

    def __init__(self, connection: socket.socket, marker: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._marker = marker
        self._clock = clock
        self._text = bytearray()
        self.marked_at_s = 0.0
        self._thread = threading.Thread(target=self._read, name="tare-console", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self._receive():
            now_s = self._clock()
            self._text += data
            if not self.marked_at_s and self._marker in self._text:
                self.marked_at_s = now_s
            del self._text[:-_KEEP_BYTES]

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(4096)
        except OSError:  # QEMU was killed with bytes in flight
            return b""

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

"""A box's own web server, as the host sees it: started by the agent, asked over the box's network address.

Plain sockets, no library: what is timed is the box. The server is the image's busybox, so it is the same everywhere.
"""

from __future__ import annotations

import socket

from harness.contract import Bench, Instance
from harness.errors import TrialFailed, TrialTimeout

PERIOD_S = 0.0002
_TRY_S = 0.25
_ANSWER_BYTES = 4096
_OK = b" 200 "
_SERVE = """
mkdir -p "$TARE_TMP/www" && echo served >"$TARE_TMP/www/index.html" || exit
httpd -f -p "$1" -h "$TARE_TMP/www" >/dev/null 2>&1 &
"""


def serve(instance: Instance, bench: Bench) -> tuple[str, int]:
    """Has the box start its server; returns where, which is not to say that it listens already."""
    if instance.address is None:
        raise TrialFailed(f"{instance.name} has no network address")
    port = free_port()
    argv = ["sh", "-c", _SERVE, "serve", f"{instance.address}:{port}"]
    done = instance.run(argv, bench.run_timeout_s)
    if done.exit_code != 0:
        raise TrialFailed(f"the web server did not start: {done.stderr.decode(errors='replace')}")
    return instance.address, port


def first_ok_s(place: tuple[str, int], bench: Bench) -> float:
    """When the first answer with status 200 had arrived, by the bench's clock."""
    give_up_s = bench.clock() + bench.run_timeout_s
    while not _answers(place):
        if bench.clock() > give_up_s:
            raise TrialTimeout(f"no web server answered at {place[0]}:{place[1]} within {bench.run_timeout_s:g} s")
        bench.sleep(PERIOD_S)
    return bench.clock()


def free_port() -> int:
    """One that is free on the host, which matters to a box that shares the host's network."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(place: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(place, timeout=_TRY_S) as connection:
            connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            return _OK in connection.recv(_ANSWER_BYTES).partition(b"\r\n")[0]
    except OSError:
        return False

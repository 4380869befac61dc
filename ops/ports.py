"""Free TCP ports on the loopback interface."""

import random
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"

_FIRST, _LAST = 20_000, 29_999
"""Below the ports that Linux and macOS give to outgoing connections (32768 and 49152 up).

A port from ``bind(0)`` comes from that range: while a server on it is restarted, another process's
outgoing connection can take it, and a client that keeps trying to reach it can even connect to
itself (TCP simultaneous open).
"""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on a port right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Find a free port. Nothing reserves it: whoever listens first has it.

    Raises:
        OSError: None found.
    """
    for port in random.SystemRandom().sample(range(_FIRST, _LAST + 1), 200):
        if is_free(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST} on {LOOPBACK}")

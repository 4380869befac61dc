"""Where this process can be reached: what it was told to listen on, and what it does listen on.

ASGI does not tell an application that. uvicorn's command knows before it listens; whatever else serves us
(``uvicorn.run``, several workers, ``--fd``, gunicorn) is seen by the process's own sockets, once
they listen.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from machpay.serve.hosts import is_loopback

_OPEN_FILES: Final = ("/proc/self/fd", "/dev/fd")
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - it is refused


def is_local(server: Any) -> bool:
    """Tell whether a connection reached this machine from itself.

    Args:
        server: A connection's end on our side, as ASGI has it in ``scope["server"]``: an address and a
            port, a path and ``None`` for a Unix socket, or ``None``, which might be anything.
    """
    if server is None:
        return False
    host, port = server
    # No server names its end by a name: that is a test, in memory.
    return port is None or not is_exposed(host)


def told_host() -> str:
    """Tell what uvicorn's command was told to listen on, if it is not this machine alone.

    Returns:
        An address. Empty: loopback, a Unix socket, a name or a file descriptor, of which more is known
        when it listens; or it is not uvicorn's command that runs.
    """
    try:
        from click import get_current_context  # noqa: PLC0415 - uvicorn's, and not ours to need
    except ImportError:
        return ""
    context = get_current_context(silent=True)
    told = {} if context is None else context.params
    if "app" not in told or told.get("uds") or told.get("fd") is not None:
        return ""
    host = told.get("host")
    if host == "":  # to asyncio, and so to uvicorn, that is all of them
        return _EVERYWHERE
    return host if isinstance(host, str) and is_exposed(host) else ""


def listening() -> list[str]:
    """List the addresses that this process listens on: IP addresses, and paths of Unix sockets."""
    return [_address(listener) for listener in _listeners()]


def is_exposed(address: str) -> bool:
    """Tell whether other machines can reach an address; a path can't be reached by any."""
    return _is_address(address) and not is_loopback(address)


def _listeners() -> Iterator[socket.socket]:
    for folder in _OPEN_FILES:
        if os.path.isdir(folder):  # noqa: PTH112 - a list of numbers, not of paths
            break
    else:
        return
    for number in os.listdir(folder):  # noqa: PTH208 - the same
        # What closes meanwhile, such as what lists this, is none of what we look for.
        with suppress(OSError, ValueError):
            if stat.S_ISSOCK(os.fstat(int(number)).st_mode):
                with socket.socket(fileno=os.dup(int(number))) as copy:
                    if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        yield copy


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    return str(name[0]) if isinstance(name, tuple) else os.fsdecode(name)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

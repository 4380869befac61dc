"""One plain HTTP request, blocking, for what is not itself measured by the thousand."""

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse


@contextlib.contextmanager
def request(port: int, method: str, path: str, body: object = None) -> Iterator[HTTPResponse]:
    """Make one request on a connection of its own.

    Args:
        port: Of 127.0.0.1.
        method: Its method.
        path: Its path.
        body: What is sent, as JSON; ``None``: nothing.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode())
        yield connection.getresponse()
    finally:
        connection.close()

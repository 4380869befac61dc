"""What the tests of proxies talk to."""

import socket
import threading
from collections.abc import Iterator

import pytest

from ops.ports import LOOPBACK


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets, and "bye" at the end of it."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def talk(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                    connection.sendall(b"bye")
                except ConnectionError:
                    pass

        def accept() -> None:
            try:
                while True:
                    threading.Thread(target=talk, args=(listener.accept()[0],)).start()
            except OSError:
                pass  # the listener is closed

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()

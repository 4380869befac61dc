import socket
import threading

import pytest

from ops.cut import CuttableProxy
from ops.ports import LOOPBACK


def connect(proxy: CuttableProxy) -> socket.socket:
    host, port = proxy.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_it_forwards_both_ways_and_half_closes(echo: int):
    big = bytes(range(256)) * 20_000
    with CuttableProxy(echo) as proxy, connect(proxy) as connection:

        def send() -> None:
            connection.sendall(big)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert read_all(connection) == big + b"bye"
        sender.join()


def test_a_cut_resets_open_connections_and_lets_new_ones_through(echo: int):
    with CuttableProxy(echo) as proxy:
        with connect(proxy) as connection:
            connection.sendall(b"one")
            assert connection.recv(3) == b"one"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        with connect(proxy) as connection:
            connection.sendall(b"two")
            assert connection.recv(3) == b"two"


def test_an_outage_resets_new_connections_too(echo: int):
    with CuttableProxy(echo) as proxy:
        proxy.cut(outage=3600)
        with pytest.raises(ConnectionResetError), connect(proxy) as connection:
            connection.recv(1)


def test_nobody_upstream_is_a_reset():
    with socket.create_server((LOOPBACK, 0)) as closed:
        port = closed.getsockname()[1]
    with (
        CuttableProxy(port) as proxy,
        pytest.raises(ConnectionResetError),
        connect(proxy) as connection,
    ):
        connection.recv(1)


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError])
def test_a_watcher_sees_and_changes_what_passes_and_ends_it(echo: int, error: type[Exception]):
    class Eavesdropper:
        def asked(self, data: bytes, /) -> bytes:
            if data == b"enough":
                raise error
            return data.upper()

        def answered(self, data: bytes, /) -> bytes:
            return data.replace(b"L", b"")

    with CuttableProxy(echo, Eavesdropper) as proxy, connect(proxy) as connection:
        connection.sendall(b"hello")
        assert connection.recv(65536) == b"HEO"
        connection.sendall(b"enough")
        if error is EOFError:
            assert connection.recv(65536) == b""
        else:
            with pytest.raises(ConnectionResetError):
                connection.recv(65536)

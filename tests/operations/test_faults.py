import socket

import pytest

from ops.faults import Fault, FaultyProxy
from tests.operations.test_cut import connect, read_all


def test_a_connection_breaks_behind_its_place_and_only_that_one(echo: int):
    with FaultyProxy(echo) as proxy, connect(proxy) as other, connect(proxy) as connection:
        fault = proxy.arm(Fault(b"here", past=2, request=b"mine"))
        other.sendall(b"not here, not now")
        assert other.recv(100) == b"not here, not now"
        connection.sendall(b"mine: he")
        assert connection.recv(100) == b"mine: he"
        connection.sendall(b"re, and on")
        assert connection.recv(100) == b"re, "
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
        assert fault.struck.wait(10)
        other.sendall(b"still")
        assert other.recv(100) == b"still"


def test_a_command_is_held_whole_until_it_is_released(echo: int):
    with FaultyProxy(echo) as proxy, connect(proxy) as connection:
        fault = proxy.arm(Fault(b"second", upward=True, hold=True))
        connection.sendall(b"first second third")
        assert fault.struck.wait(10)
        with connect(proxy) as other:
            other.sendall(b"others go on")
            assert other.recv(100) == b"others go on"
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(100)
        connection.settimeout(20)
        proxy.release()
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"first second thirdbye"


def test_connections_fall_silent_and_can_be_cut(echo: int):
    with FaultyProxy(echo) as proxy, connect(proxy) as connection:
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"
        proxy.hold()
        with connect(proxy) as new:
            new.sendall(b"two")
            assert new.recv(100) == b"two"
        connection.sendall(b"three")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)

"""The rivals on Node.js do what their docstrings say."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from bench.rivals.durable_streams import DurableStreams, last_offset
from bench.rivals.node_rival import HERE, NodeRival
from bench.rivals.resumable_stream import (
    ResumableStream,
    ResumableStreamFirst,
    received_characters,
)
from bench.target import STAMP, Request, Work
from ops.npm import NodeMissing, RegistryUnreachable, ensure_installed

LAST_CHUNK = b"0\r\n\r\n"
SLOW = Work(events=5, interval=0.1, delay=0.2)
"""Slow enough that everybody who reads at once reads it while it runs."""


class Connection:
    """A reader: a plain socket, and all that it has received."""

    def __init__(self, request: Request) -> None:
        self.received = b""
        self._socket = socket.create_connection(("127.0.0.1", request.port), timeout=20)
        self._socket.sendall(request.data)

    def read(self, stamps: int | None = None) -> list[int]:
        """Read until there are so many stamps, or to the end; returns their indexes."""
        with self._socket:
            while stamps is None or len(self.indexes) < stamps:
                part = self._socket.recv(65536)
                self.received += part
                if not part or self.received.endswith(LAST_CHUNK):
                    break
        return self.indexes

    @property
    def indexes(self) -> list[int]:
        return [int(index) for index, _ in STAMP.findall(self.received)]


def started(kind: type[NodeRival]) -> Iterator[NodeRival]:
    """Run a rival; skip where it can't be: no Node.js here, or no registry to install from."""
    try:
        ensure_installed(HERE)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))
    with kind() as rival:
        yield rival


@pytest.fixture(scope="module")
def resumable() -> Iterator[NodeRival]:
    yield from started(ResumableStream)


@pytest.fixture(scope="module")
def first() -> Iterator[NodeRival]:
    yield from started(ResumableStreamFirst)


@pytest.fixture(scope="module")
def durable() -> Iterator[NodeRival]:
    yield from started(DurableStreams)


@pytest.fixture(params=["resumable", "first", "durable"])
def rival(request: pytest.FixtureRequest) -> NodeRival:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, NodeRival)
    return found


def test_a_stream_is_read_whole_and_ends(rival: NodeRival) -> None:
    assert Connection(rival.run(SLOW)).read() == [0, 1, 2, 3, 4]


def test_no_chunk_comes_before_its_time(rival: NodeRival) -> None:
    began = time.monotonic_ns()
    connection = Connection(rival.run(SLOW))
    connection.read()
    for index, made in STAMP.findall(connection.received):
        assert (int(made) - began) / 1e9 >= SLOW.delay + int(index) * SLOW.interval


def test_many_at_once_without_an_interval(rival: NodeRival) -> None:
    work = Work(events=1000, delay=0.2)
    assert Connection(rival.run(work)).read() == list(range(1000))


def test_two_readers_get_all_of_it(rival: NodeRival) -> None:
    stream = rival.begin(SLOW)
    readers = [Connection(rival.read(stream)) for _ in range(2)]
    assert [reader.read() for reader in readers] == [[0, 1, 2, 3, 4]] * 2


def test_a_reader_goes_on_where_it_was(rival: NodeRival) -> None:
    stream = rival.begin(Work(events=6, interval=0.25, delay=0.2))
    reader = Connection(rival.read(stream))
    indexes = reader.read(2)
    received = reader.received
    assert indexes == [0, 1]
    for stamps in (1, None):
        reader = Connection(rival.read(stream, received))
        indexes += reader.read(stamps)
        received += reader.received
    assert indexes == [0, 1, 2, 3, 4, 5]


def test_pids_are_the_programs_themselves(rival: NodeRival) -> None:
    for role, pids in rival.pids.items():
        for pid in pids:
            asked = subprocess.run(
                ["ps", "-o", "comm=", "-p", str(pid)], check=True, stdout=subprocess.PIPE
            )
            program = asked.stdout.decode().strip().rpartition("/")[2]
            assert program == ("valkey-server" if role == "store" else "node")


def test_resumable_stream_forgets_what_has_ended(resumable: NodeRival) -> None:
    stream = resumable.begin(Work(events=1, delay=0.2))
    assert Connection(resumable.read(stream)).read() == [0]
    late = Connection(resumable.read(stream))
    assert late.read() == []
    assert late.received.startswith(b"HTTP/1.1 422 ")


def test_durable_streams_keep_what_has_ended(durable: NodeRival) -> None:
    stream = durable.begin(Work(events=5))
    first = Connection(durable.read(stream))
    assert first.read() == [0, 1, 2, 3, 4]
    assert b'"streamClosed":true' in first.received
    assert Connection(durable.read(stream, first.received)).read() == []


def test_durable_streams_appends(durable: NodeRival) -> None:
    one, hundred = durable.appends(1, 0.2), durable.appends(100, 0.2)
    assert 0 < one < hundred


def test_nothing_is_left_when_it_stops() -> None:
    for rival in started(DurableStreams):
        pids = [pid for pids in rival.pids.values() for pid in pids]
        rival.stop()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_an_event_that_was_not_received_whole_does_not_count() -> None:
    event = b'event: chunk\ndata: {"text":"0:123456789;"}\nid: 0\n\n'
    assert received_characters(b"HTTP/1.1 200 OK\r\n\r\n3a\r\n" + event + event[:20]) == len(event)
    control = b'event: control\ndata:{"streamNextOffset":"0_7","upToDate":true}\n\n'
    assert last_offset(control + control.replace(b"0_7", b"0_9")[:-1]) == "0_7"
    assert last_offset(b"") == "-1"

"""The rivals in Python do what they are measured at: else their figures would mean nothing."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from bench.rivals.in_process import InProcess
from bench.rivals.raw_socket import RawSocket
from bench.rivals.running import Running
from bench.rivals.usual import Usual, last_id
from bench.target import STAMP, Request, Work
from ops.ports import LOOPBACK
from ops.system import ROOT

FIVE = Work(events=5, interval=0.01)


RIVALS: tuple[type[Running], ...] = (InProcess, RawSocket, Usual)


@pytest.fixture(scope="module")
def rival(request: pytest.FixtureRequest) -> Iterator[Running]:
    with request.param() as running:
        yield running


def each_that_can(kind: str) -> pytest.MarkDecorator:
    """Run a test with each rival that says so."""
    able = [rival for rival in RIVALS if kind in rival.can]
    return pytest.mark.parametrize(
        "rival", able, ids=lambda rival: rival.__name__, indirect=True, scope="module"
    )


def connect(request: Request) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, request.port), timeout=10)
    connection.sendall(request.data)
    return connection


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with connection:
        while part := connection.recv(65536):
            received += part
    return received


def indices(received: bytes) -> list[int]:
    return [int(index) for index, _ in STAMP.findall(received)]


@each_that_can("start")
@pytest.mark.parametrize("interval", [0.01, 0.0])
def test_a_stream_has_all_its_chunks_and_an_end(rival: Running, interval: float) -> None:
    received = read_all(connect(rival.run(Work(events=5, interval=interval, delay=0.01))))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert indices(received) == [0, 1, 2, 3, 4]
    times = [int(made) for _, made in STAMP.findall(received)]
    # Half of what was asked for, as clocks of event loops are coarse.
    assert times[4] - times[0] > 4 * interval * 1e9 / 2
    assert received.endswith(b"0\r\n\r\n")


@each_that_can("live")
def test_many_at_once(rival: Running) -> None:
    connections = [connect(rival.run(FIVE)) for _ in range(20)]
    assert [indices(read_all(each)) for each in connections] == [[0, 1, 2, 3, 4]] * 20


@each_that_can("fanout")
def test_two_readers_of_one_stream(rival: Running) -> None:
    stream = rival.begin(FIVE)
    readers = [connect(rival.read(stream)) for _ in range(2)]
    first, second = map(read_all, readers)
    assert indices(first) == [0, 1, 2, 3, 4]
    assert STAMP.findall(first) == STAMP.findall(second)


@each_that_can("fanout")
def test_a_reader_that_is_late_and_one_of_another_stream(rival: Running) -> None:
    one, other = rival.begin(FIVE), rival.begin(Work(events=2))
    read_all(connect(rival.read(one)))
    assert indices(read_all(connect(rival.read(one)))) == [0, 1, 2, 3, 4]
    assert indices(read_all(connect(rival.read(other)))) == [0, 1]


@each_that_can("resume")
@pytest.mark.parametrize("further", [0, 20])
def test_resuming(rival: Running, further: int) -> None:
    """After two complete events, and after a part of the third."""
    stream = rival.begin(FIVE)
    whole = read_all(connect(rival.read(stream)))
    second = [found.end() for found in STAMP.finditer(whole)][1]
    cut = whole.index(b"\r\n\r\n", second) + 4 + further
    assert indices(read_all(connect(rival.read(stream, whole[:cut])))) == [2, 3, 4]


def test_the_last_id_of_nothing() -> None:
    assert last_id(b"") == ""
    assert last_id(b"HTTP/1.1 200 OK\r\n\r\n20\r\nid: 1-0\r\nevent: chunk\r\nda") == ""


@each_that_can("start")
def test_the_processes_are_those_that_do_the_work(rival: Running) -> None:
    names = {role: [command_of(pid) for pid in pids] for role, pids in rival.pids.items()}
    assert len(names["server"]) == 1
    assert "tether" not in str(names)
    if isinstance(rival, Usual):
        assert ["arq" in command for command in names["producer"]] == [True, True]
        assert "valkey-server" in names["store"][0]


def command_of(pid: int) -> str:
    listed = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return listed.stdout


@each_that_can("append")
@pytest.mark.parametrize("batch", [1, 10])
def test_appends(rival: Running, batch: int) -> None:
    assert rival.appends(batch, 0.05) > 0


@each_that_can("jobs")
@pytest.mark.parametrize("workers", [1, 2])
def test_jobs(rival: Running, workers: int) -> None:
    before = rival.pids
    assert rival.jobs(workers, 10) > 0
    assert rival.pids == before
    assert len(rival.children) == 3


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="can't resume"):
        RawSocket().read("1", b"anything")


def test_stopping_leaves_nothing_behind() -> None:
    with InProcess() as running:
        child = running.children["server"]
        log = child.log
    assert child.returncode is not None
    assert not log.parent.exists()


def test_one_command_starts_it_until_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.rivals.raw_socket"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "curl -N -d '{" in line
        body = line.split("'")[1]
        answer = httpx.post(line.split()[-1], content=body, trust_env=False)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert indices(answer.content) == [0, 1, 2, 3, 4]

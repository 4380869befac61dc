"""The server as a process: signals, its first line, its settings; and the drain by itself."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sse_starlette.sse import AppStatus
from starlette.types import Message, Receive, Send

from machpay.serve.drain import Drain
from machpay.serve.responses import EventStream
from machpay.serve.server import serve
from machpay.serve.streams import Streams
from machpay.skill import Skill
from tests.skill_server.serving import Raw, parse_raw, read_raw, request
from tests.wire import check

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio
import signal
import sys
from machpay.skill import Skill
from machpay.serve.server import create_app

skill = Skill(id="endless")

@skill.stream_handler
async def endless(input):
    while True:
        yield "again " * input.data.get("times", 1)
        await asyncio.sleep(0 if input.data else 0.01)

app = create_app([skill])

if __name__ == "__main__":
    skill.serve(port=0)
"""


@contextlib.contextmanager
def process(tmp_path: Path, *command: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run a server until it says its address; yields it and its port."""
    (tmp_path / "program.py").write_text(PROGRAM)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    output = (tmp_path / "output").open("w+b")
    with (
        output,
        subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=output, cwd=tmp_path, env=environ
        ) as server,
    ):
        try:
            while (match := re.search(rb"http://127\.0\.0\.1:(\d+)", said(tmp_path))) is None:
                assert server.poll() is None, said(tmp_path)
                time.sleep(0.01)
            yield server, int(match[1])
        finally:
            server.kill()


def said(tmp_path: Path) -> bytes:
    return (tmp_path / "output").read_bytes()


def open_stream(port: int) -> tuple[socket.socket, bytes]:
    """Open a stream and read until its first chunk."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(request("POST", "/v1/skills/endless/stream", b"{}"))
    received = b""
    while b"again" not in received:
        received += connection.recv(65536)
    return connection, received


def rest_of(connection: socket.socket, received: bytes) -> Raw:
    while piece := connection.recv(65536):
        received += piece
    answer = parse_raw(received)
    assert answer is not None
    return answer


SERVERS = {
    "uvicorn": ("-m", "uvicorn", "program:app", "--port", "0"),
    "uvicorn on asyncio and h11": (
        *("-m", "uvicorn", "program:app", "--port", "0"),
        *("--loop", "asyncio", "--http", "h11"),
    ),
    "skill.serve()": ("program.py",),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("name", SERVERS)
def test_a_signal_ends_streams_cleanly_and_then_the_process(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    with process(tmp_path, *SERVERS[name]) as (server, port):
        streams = [open_stream(port) for _ in range(3)]
        server.send_signal(number)
        for connection, received in streams:
            with connection:
                answer = rest_of(connection, received)
            assert answer.complete, "the last chunk of the HTTP body is missing"
            assert check(answer.body)[-1].data["code"] == "worker_lost"
        # Without a drain uvicorn would wait for ever, or cancel and say so in its log.
        code = server.wait(10)
    log = said(tmp_path)
    assert b"Traceback" not in log
    assert b"ERROR" not in log
    expected = {0} if number is signal.SIGINT else {-signal.SIGTERM}
    assert code in expected | ({-signal.SIGINT} if number is signal.SIGINT else set())


def test_serve_says_where_in_one_line(tmp_path: Path) -> None:
    with process(tmp_path, "program.py") as (_, port):
        line = f"Serving endless at http://127.0.0.1:{port} (stop with Ctrl-C)\n"
        assert said(tmp_path) == line.encode()
        connection, _ = open_stream(port)
        connection.close()


def test_serve_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        skill = Skill(id="x")
        skill.stream_handler(lambda input: "x")
        with pytest.raises(SystemExit):
            serve([skill], port=taken.getsockname()[1])


def test_serve_refuses_a_skill_without_handler() -> None:
    with pytest.raises(ValueError, match="no handler"):
        serve([Skill(id="x")], port=0)


def test_a_client_that_takes_nothing_does_not_keep_the_process(tmp_path: Path) -> None:
    with process(tmp_path, "program.py") as (server, port), socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", port))
        # Far more than the kernel's buffers hold: the server can't send its last chunk either.
        flood = b'{"input":{"times":40000}}'
        stuck.sendall(request("POST", "/v1/skills/endless/stream", flood))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as other:
            other.sendall(request("POST", "/v1/skills/endless/stream", flood))
            answer = read_raw(other)
        assert check(answer.body)[-1].data["code"] == "output_limit"
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == -signal.SIGTERM
    assert b"graceful shutdown exceeded" in said(tmp_path)


# ---- the drain


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """Handlers of our signals that note their calls; the real ones come back after the test."""
    calls: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, _: calls.append(number))
    yield calls
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_the_drain_begins_once_and_tells_all() -> None:
    drain = Drain()
    calls: list[str] = []
    drain.on_begin(lambda: calls.append("early"))
    waiting = asyncio.create_task(drain.wait())
    states = [drain.draining]
    drain.begin()
    drain.begin()
    states.append(drain.draining)
    drain.on_begin(lambda: calls.append("late"))
    await waiting
    assert states == [False, True]
    assert calls == ["early", "late"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_a_signal_begins_the_drain_and_still_reaches_the_previous_handler(
    handlers: list[int], number: signal.Signals
) -> None:
    drain = Drain()
    before = signal.getsignal(number)
    with drain.on_signals():
        assert not AppStatus.enable_automatic_graceful_drain
        signal.raise_signal(number)
        async with asyncio.timeout(10):
            await drain.wait()
    assert handlers == [number]
    assert signal.getsignal(number) is before
    assert AppStatus.enable_automatic_graceful_drain


async def test_a_handler_that_was_chained_after_ours_stays(handlers: list[int]) -> None:
    def later(number: int, _frame: object) -> None:
        raise AssertionError

    with Drain().on_signals():
        signal.signal(signal.SIGTERM, later)
    assert signal.getsignal(signal.SIGTERM) is later


def test_outside_of_the_main_thread_no_handler_is_touched(handlers: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        with Drain().on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert seen == [before]


# ---- retry


async def nothing_comes() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def respond(
    source: AsyncIterator[bytes], send: Send, receive: Receive = nothing_comes
) -> None:
    stream = Streams().open(receive)
    await EventStream(source, stream)({"type": "http"}, receive, send)


async def blocks(*items: bytes) -> list[bytes]:
    """What is sent of a stream with such blocks, the end of the body last."""

    async def source():
        for item in items:
            yield item

    sent: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    await respond(source(), send)
    return sent


async def test_retry_goes_into_the_first_events_block() -> None:
    first, second, third, fourth, end = await blocks(b":\n", b":\n", b"event: a\n", b"event: b\n")
    assert (first, second, fourth, end) == (b":\n", b":\n", b"event: b\n", b"")
    assert re.fullmatch(rb"retry: \d{3,4}\nevent: a\n", third)


async def test_a_stream_without_events_says_retry_all_the_same() -> None:
    heartbeat, retry = await blocks(b":\n")
    assert heartbeat == b":\n"
    assert re.fullmatch(rb"retry: \d{3,4}\n", retry)


async def test_retry_is_spread() -> None:
    seen = {(await blocks(b"x"))[0] for _ in range(50)}
    values = {int(block.split()[1].rstrip(b"x")) for block in seen}
    assert len(values) > 10
    assert 200 <= min(values) <= max(values) <= 1000


async def test_a_source_that_never_waits_leaves_the_loop_to_others() -> None:
    sent = 0

    async def source():
        while True:
            yield b"x"

    async def send(_message: Message) -> None:
        nonlocal sent
        sent += 1

    task = asyncio.create_task(respond(source(), send))
    for _ in range(10):
        await asyncio.sleep(0)
    assert 10 < sent < 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("waits", [True, False])
async def test_a_reader_that_leaves_closes_the_source(waits: bool) -> None:
    closed = False
    began = asyncio.Event()

    async def source():
        nonlocal closed
        try:
            while True:
                began.set()
                yield b"x"
                if waits:
                    await asyncio.Event().wait()
        finally:
            closed = True

    async def leave() -> Message:
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        pass

    await respond(source(), send, leave)
    assert closed


async def test_a_source_that_breaks_ends_the_response_cleanly() -> None:
    async def source():
        yield b"event: a\n\n"
        raise ValueError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await respond(source(), send)
    assert sent[-1] == {"type": "http.response.body", "body": b""}

"""Streams that have to go: when their turn comes, how they end, and what a drain waits for."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from machpay._position import Position
from machpay.serve.browser import browser_routes
from machpay.serve.callers import Caller
from machpay.serve.connection import Connection
from machpay.serve.drain import Drain
from machpay.serve.executions import Place, Started, StartRequest
from machpay.serve.inflight import InFlight
from machpay.serve.memory import MemoryExecutions
from machpay.serve.routes import EXCEPTION_HANDLERS, routes
from machpay.serve.streams import AGES, SEND_TIMEOUT, Streams
from tests.skill_server.serving import Raw, Served, parse_raw, read_raw, request, serving
from tests.skill_server.skills import Gates
from tests.waiting import until, wait_until
from tests.wire import WireEvent, check, check_prefix, check_retry_only

LONG = 3600.0
PROTOCOLS = ("httptools", "h11")


class Waiting(MemoryExecutions):
    """Executions whose start goes on when it is told to."""

    def __init__(self, gates: Gates) -> None:
        super().__init__(gates.skills, heartbeat=LONG)
        self.starting = False
        self.proceed = threading.Event()
        self.proceed.set()
        self.locating = False
        self.found = threading.Event()
        self.found.set()

    async def locate(self, execution_id: str, caller: Caller, after: Position) -> Place:
        self.locating = True
        await until(self.found.is_set, "the execution is found")
        return await super().locate(execution_id, caller, after)

    async def start(self, request: StartRequest) -> Started:
        self.starting = True
        await until(self.proceed.is_set, "the start may go on")
        return await super().start(request)


class Server:
    """A server whose executions go on while it drains, as an edge's do.

    Attributes:
        served: The server itself.
        stopped: Whether the drain let it stop.
    """

    def __init__(self, served: Served, executions: Waiting, streams: Streams, drain: Drain) -> None:
        self.served = served
        self.streams = streams
        self.executions = executions
        self.stopped = threading.Event()
        self._drain = drain

    def drain(self) -> None:
        self.served.call(lambda: self._drain.begin(self.stopped.set))
        wait_until(lambda: self._drain.draining, "the drain")

    def send(self, bytes: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.served.port), timeout=20)
        connection.sendall(bytes)
        return connection

    def stream(self, gate: str) -> socket.socket:
        body = json.dumps({"input": {"gate": gate}}).encode()
        return self.send(request("POST", "/v1/skills/gated/stream", body))

    def text(self, gate: str) -> socket.socket:
        body = json.dumps({"gate": gate}).encode()
        return self.send(request("POST", "/api/stream?skill=gated", body))


@contextmanager
def running(
    gates: Gates,
    *,
    window: float = LONG,
    max_age: float | None = None,
    send_timeout: float = SEND_TIMEOUT,
    http: str = "auto",
) -> Iterator[Server]:
    streams = Streams(max_age=max_age, send_timeout=send_timeout)
    drain = Drain(streams, window=window)
    executions = Waiting(gates)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with executions:
            yield

    app = Starlette(
        routes=[
            *routes(executions, drain=drain, streams=streams),
            *browser_routes(executions, drain=drain, streams=streams),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[Middleware(InFlight, streams=streams, drain=drain)],
        lifespan=lifespan,
    )
    # uvicorn closes no idle connection here: what is closed, was closed on purpose.
    with serving(app, http=http, timeout_keep_alive=int(LONG)) as served:
        yield Server(served, executions, streams, drain)


def stuck_connection(port: int) -> socket.socket:
    """Connect as a client that has next to no room for an answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    return connection


def fill(transport: asyncio.Transport) -> None:
    """Fill the kernel's buffers, and a little of the transport's: no send waits for that."""
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 20_000)


def read_until(connection: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


def rest_of(connection: socket.socket, received: bytes = b"") -> Raw:
    """Read until the server closes."""
    while piece := connection.recv(65536):
        received += piece
    answer = parse_raw(received)
    assert answer is not None
    return answer


# -- rotation


@pytest.mark.parametrize("http", PROTOCOLS)
def test_an_old_stream_is_closed_on_a_boundary_with_its_connection(gates: Gates, http: str) -> None:
    with running(gates, max_age=0.1, http=http) as server, server.stream("g") as connection:
        # Idle from its first chunk on, without a heartbeat.
        answer = rest_of(connection)
        assert answer.complete
        seen = check(answer.body, complete=False)
        gates.gate("g").set()
        rest: list[WireEvent] = []
        while not rest or rest[-1].event != "end":
            last = [*seen, *rest][-1].id
            path = f"/v1/executions/{last.partition('.')[0]}/stream"
            again = server.send(request("GET", path, b"", f"Last-Event-ID: {last}"))
            with again:
                rest += check_prefix(read_raw(again).body)
    assert [event.event for event in [*seen, *rest]] == ["start", "chunk", "chunk", "end"]
    assert gates.runs == 1


def test_bare_text_never_rotates(gates: Gates) -> None:
    with running(gates, max_age=0.05) as server, server.text("g") as text:
        received = read_until(text, b"before ")
        # Streams that came later, one after the other, are gone by then.
        for _ in range(3):
            with server.stream("never") as connection:
                check(rest_of(connection).body, complete=False)
        gates.gate("g").set()
        text.settimeout(20)
        while b"\r\n0\r\n\r\n" not in received:
            received += text.recv(65536)
    answer = parse_raw(received)
    assert answer is not None
    assert (answer.body, answer.complete) == (b"before after", True)


async def nothing() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def test_every_stream_has_an_age_of_its_own() -> None:
    now = asyncio.get_running_loop().time()
    streams = Streams(max_age=LONG)
    opened = [streams.open(nothing) for _ in range(50)]
    ages = {stream._timer.when() - now for stream in opened if stream._timer is not None}
    assert AGES[0] * LONG <= min(ages) < 0.95 * LONG < 1.05 * LONG < max(ages) < AGES[1] * LONG + 1
    for stream in opened:
        stream.close()
    assert all(stream._timer is None or stream._timer.cancelled() for stream in opened)


# -- drain


async def test_a_drain_spreads_turns_over_its_window_and_takes_none_back() -> None:
    loop = asyncio.get_running_loop()
    gone: list[int] = []
    streams = Streams(max_age=LONG)
    opened = [streams.open(nothing) for _ in range(50)]
    soon = streams.open(nothing)
    soon.come_within(0.0, 0.0)
    text = streams.open(nothing)
    text.stay()
    streams.leave(10.0, lambda: gone.append(1))
    late = streams.open(nothing)
    now = loop.time()
    turns = {stream._timer.when() - now for stream in [*opened, late] if stream._timer is not None}
    assert len(turns) == 51
    assert min(turns) < 3.0 < 7.0 < max(turns) <= 10.0
    assert soon._timer is not None
    assert soon._timer.when() <= now
    assert text._timer is None
    for stream in [*opened, soon, text]:
        stream.close()
    assert gone == []
    late.close()
    assert gone == [1]
    late.close()
    assert gone == [1]


class Buffered(Connection):
    """A connection that still has the end of its response to send."""

    def __init__(self) -> None:
        super().__init__(nothing)
        self.cuts = 0

    @property
    def unsent(self) -> int:
        return 0 if self.cuts else 5

    def cut(self) -> bool:
        self.cuts += 1
        return True


async def test_a_closed_stream_whose_client_never_takes_the_end_is_cut_too() -> None:
    streams = Streams()
    stream = streams.open(nothing)
    stream.connection = connection = Buffered()
    gone: list[int] = []
    streams.leave(0.0, lambda: gone.append(1))
    stream.close()
    assert (gone, connection.cuts) == ([1], 0)
    await until(lambda: connection.cuts, "it is cut")


def test_each_stream_of_a_drain_ends_on_a_boundary_and_the_last_one_stops_the_server(
    gates: Gates,
) -> None:
    with running(gates, window=0.3) as server:
        connections = [server.stream("never") for _ in range(5)]
        received = [read_until(connection, b"before") for connection in connections]
        server.drain()
        for connection, begun in zip(connections, received, strict=True):
            with connection:
                answer = rest_of(connection, begun)
            assert answer.complete
            assert len(check(answer.body, complete=False)) == 2
        assert server.stopped.wait(20)


def test_with_no_window_streams_are_still_ended_cleanly(gates: Gates) -> None:
    with running(gates, window=0.0) as server, server.stream("never") as connection:
        begun = read_until(connection, b"before")
        server.drain()
        answer = rest_of(connection, begun)
        assert answer.complete
        check(answer.body, complete=False)
        assert server.stopped.wait(20)


def test_without_a_stream_nothing_is_waited_for(gates: Gates) -> None:
    with running(gates) as server:
        with server.stream("g") as connection:
            read_until(connection, b"before")
            gates.gate("g").set()
            read_until(connection, b"\r\n0\r\n\r\n")
        server.drain()
        assert server.stopped.wait(20)


def test_a_client_that_leaves_is_not_waited_for(gates: Gates) -> None:
    with running(gates) as server:
        with server.stream("never") as connection:
            read_until(connection, b"before")
            server.drain()
            assert not server.stopped.is_set()
        assert server.stopped.wait(20)


def test_a_start_that_was_accepted_before_is_a_stream_like_any_other(gates: Gates) -> None:
    with running(gates, window=0.3) as server:
        server.executions.proceed.clear()
        with server.stream("never") as connection:
            wait_until(lambda: server.executions.starting, "the start is on its way")
            server.drain()
            refused = server.served.raw(request("POST", "/v1/skills/echo/stream", b"{}"))
            assert refused.status == 503
            assert not server.stopped.is_set()
            server.executions.proceed.set()
            answer = rest_of(connection)
        assert answer.complete
        assert check(answer.body, complete=False)[0].event == "start"
        assert server.stopped.wait(20)


def test_a_refused_start_is_not_waited_for(gates: Gates) -> None:
    with running(gates) as server:
        assert server.served.raw(request("POST", "/v1/skills/nope/stream", b"{}")).status == 404
        assert server.served.raw(request("POST", "/v1/skills/echo/stream", b"[")).status == 400
        head = request("HEAD", "/v1/executions/exec_nope/stream", b"", "Connection: close")
        assert server.served.raw(head).status == 404
        server.drain()
        assert server.stopped.wait(20)


def test_a_resume_at_a_draining_server_is_told_to_go_elsewhere_or_that_it_has_all(
    gates: Gates,
) -> None:
    with running(gates) as server, server.stream("never") as kept:
        read_until(kept, b"before")
        whole = check(server.served.raw(request("POST", "/v1/skills/echo/stream", b"{}")).body)
        server.drain()
        path = f"/v1/executions/{whole[0].data['executionId']}/stream"
        within = server.served.raw(request("GET", path, b"", f"Last-Event-ID: {whole[0].id}"))
        assert (within.status, within.header("connection")) == (200, "close")
        check_retry_only(within.body)
        after = server.served.raw(request("GET", path, b"", f"Last-Event-ID: {whole[-1].id}"))
        assert after.status == 204


def test_a_resume_that_the_store_keeps_waiting_is_sent_elsewhere_by_a_drain(gates: Gates) -> None:
    with running(gates) as server:
        whole = check(server.served.raw(request("POST", "/v1/skills/echo/stream", b"{}")).body)
        path = f"/v1/executions/{whole[0].data['executionId']}/stream"
        resume = request("GET", path, b"", f"Last-Event-ID: {whole[0].id}")
        server.executions.found.clear()
        with server.send(resume) as before:
            wait_until(lambda: server.executions.locating, "it waits for the store")
            server.drain()
            answers = [server.served.raw(resume), rest_of(before)]
        for answer in answers:
            assert (answer.status, answer.header("connection")) == (200, "close")
            check_retry_only(answer.body)
        assert server.stopped.wait(20)
        server.executions.found.set()


@pytest.mark.parametrize("http", PROTOCOLS)
def test_a_request_that_has_no_answer_when_a_drain_is_over_gets_ours(
    gates: Gates, http: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running(gates, window=0.1, http=http) as server:
        server.executions.proceed.clear()
        head = b"POST /v1/skills/echo/executions HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        with (
            server.send(head + b"10\r\n\r\n{") as sending,
            server.send(head + b"2\r\n\r\n{}") as sent,
        ):
            wait_until(lambda: server.executions.starting, "the start is on its way")
            wait_until(lambda: len(server.streams._requests) == 2, "both are there")
            server.drain()
            answers = [rest_of(sending), rest_of(sent)]
        for answer in answers:
            assert (answer.status, answer.header("connection")) == (503, "close")
            assert json.loads(answer.body)["error"]["code"] == "draining"
            assert int(answer.header("retry-after") or 0) > 0
        assert server.stopped.wait(20)
        server.executions.proceed.set()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_event_source_that_has_no_answer_when_a_drain_is_over_comes_back(gates: Gates) -> None:
    with running(gates, window=0.0) as server:
        looking = threading.Event()

        async def skill(_: str) -> None:
            looking.set()
            await asyncio.Event().wait()

        server.executions.skill = skill  # type: ignore[method-assign,assignment]
        accept = "Accept: text/event-stream"
        with server.send(request("GET", "/api/stream?skill=gated", b"", accept)) as connection:
            wait_until(looking.is_set, "the skill is looked for")
            server.drain()
            answer = read_raw(connection)
        # A status would be the end of it.
        assert (answer.status, answer.header("connection")) == (200, "close")
        check_retry_only(answer.body)


@pytest.mark.parametrize("http", PROTOCOLS)
def test_bare_text_is_cut_at_the_end_of_a_drain_and_not_before(gates: Gates, http: str) -> None:
    with running(gates, window=0.2, http=http) as server, server.text("never") as text:
        begun = read_until(text, b"before ")
        with server.stream("never") as connection:
            received = read_until(connection, b"before")
            server.drain()
            assert rest_of(connection, received).complete
        answer = rest_of(text, begun)
        assert (answer.body, answer.complete) == (b"before ", False)
        assert server.stopped.wait(20)


@pytest.mark.parametrize("http", PROTOCOLS)
def test_a_stuck_reader_is_cut_at_the_end_of_a_drain(
    gates: Gates, http: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with (
        running(gates, window=0.1, http=http) as server,
        stuck_connection(server.served.port) as stuck,
    ):
        body = b'{"input":{"chunks":150,"size":100000}}'
        stuck.sendall(request("POST", "/v1/skills/large/stream", body))
        wait_until(lambda: server.executions._finished, "more than it can be sent")
        server.drain()
        assert server.stopped.wait(20)
        wait_until(lambda: not server.served._server.server_state.connections, "it is gone")
        answer = rest_of(stuck)
    assert not answer.complete
    assert "1 streams were not over in time and were cut" in caplog.text
    assert not [record for record in caplog.records if record.levelname != "INFO"]


@pytest.mark.parametrize("http", PROTOCOLS)
def test_a_client_that_never_takes_the_end_of_its_response_is_cut(
    gates: Gates, http: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All of its response is sent, as far as the application can see: the rest is buffered."""
    caplog.set_level("INFO")
    with running(gates, send_timeout=0.3, http=http) as server:
        connections = server.served._server.server_state.connections
        asked = {"input": {"gate": "g"}}
        body = json.dumps(asked).encode()
        stuck = stuck_connection(server.served.port)
        with stuck:
            stuck.sendall(request("POST", "/v1/skills/gated/stream", body))
            read_until(stuck, b"before")
            wait_until(lambda: connections, "it is there")
            (protocol,) = connections
            # As a client that takes no more would leave them, whatever the kernel's buffers are.
            server.served.call(lambda: fill(protocol.transport))
            wait_until(protocol.transport.get_write_buffer_size, "its buffers are full")
            gates.gate("g").set()
            wait_until(lambda: not server.streams._open, "its response is complete")
            wait_until(lambda: not connections, "it is cut", 10)
    assert "took nothing for 0.3 s and was cut" in caplog.text
    assert not [record for record in caplog.records if record.levelname != "INFO"]


async def test_behind_an_unknown_server_a_connection_can_do_nothing() -> None:
    connection = Connection(nothing)
    assert not connection.cut()
    assert connection.unsent == 0
    connection.close_after_response()

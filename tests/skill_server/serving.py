"""Real servers on real sockets, for tests: uvicorn in a thread, and raw clients."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import uvicorn
from starlette.types import ASGIApp

from machpay.serve.drain import Drain
from tests.waiting import wait_until


class Served:
    """A server that runs in a thread.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        http: A client of it.
        loop: Its event loop.
    """

    def __init__(self, app: ASGIApp, drain: Drain | None, **settings: Any) -> None:
        self._drain = drain
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                port=0,
                log_config=None,
                lifespan="on",
                server_header=False,
                timeout_graceful_shutdown=5,
                **settings,
            )
        )
        self._thread = threading.Thread(target=self._run, name="server under test")
        self.port = 0
        self.loop: asyncio.AbstractEventLoop
        self.http: httpx.Client

    def _run(self) -> None:
        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve()

        asyncio.run(main())

    def __enter__(self) -> "Served":
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            self._thread.join(0.001)  # it is the server's turn
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self._drain is not None:
            self.call(self._drain.begin)
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    def call(self, function: Any) -> None:
        """Call a function on the server's loop, without waiting for it."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def raw(self, request: bytes) -> "Raw":
        """Send bytes, and read the whole answer, until the server closes."""
        return raw(self.port, request)

    def drain(self) -> None:
        """Have its drain begin; returns when it has."""
        assert self._drain is not None
        self.call(self._drain.begin)
        wait_until(lambda: self._drain is None or self._drain.draining, "the drain")


class Raw(NamedTuple):
    """An answer, byte by byte.

    Attributes:
        status: The HTTP status.
        headers: In order; names in lower case.
        body: Without the chunked coding.
        complete: Whether the body's end was marked (last chunk, or all of Content-Length).
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} comes more than once"
        return values[0] if values else None


def raw(port: int, request: bytes) -> Raw:
    """Send bytes to a port, and read the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return read_raw(connection)


def read_raw(connection: socket.socket) -> Raw:
    """Read one answer until its end is marked, or the connection closes."""
    received = bytearray()
    answer: Raw | None = None
    while answer is None or not answer.complete:
        piece = connection.recv(65536)
        received += piece
        # A long answer comes in many pieces, and is parsed as seldom as it can be.
        if not piece or may_be_whole(received):
            answer = parse_raw(bytes(received))
        if not piece:
            break
    assert answer is not None, f"no whole head: {bytes(received)!r}"
    return answer


def may_be_whole(received: bytearray) -> bool:
    """Tell whether the end of what was received may be that of an answer."""
    head = received[: max(0, received.find(b"\r\n\r\n"))].lower()
    return b"\r\ntransfer-encoding: chunked" not in head or received.endswith(b"0\r\n\r\n")


def parse_raw(received: bytes) -> Raw | None:
    """Parse what was received so far; ``None`` without a whole head."""
    head, blank, rest = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip()))
    status = int(lines[0].split(" ")[1])
    if ("transfer-encoding", "chunked") in headers:
        body, complete = dechunk(rest)
    else:
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        body, complete = rest, len(rest) >= length
    return Raw(status, headers, body, complete)


def dechunk(data: bytes) -> tuple[bytes, bool]:
    """Undo the chunked coding; tell whether the last chunk was there."""
    pieces: list[bytes] = []
    place = 0
    while (end := data.find(b"\r\n", place)) >= 0:
        length = int(data[place:end], 16)
        if length == 0:
            return b"".join(pieces), data[end + 2 :] == b"\r\n"
        pieces.append(data[end + 2 : end + 2 + length])
        place = end + 2 + length + 2
    return b"".join(pieces), False


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Build a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.contextmanager
def serving(app: ASGIApp, drain: Drain | None = None, **settings: Any) -> Iterator[Served]:
    """Serve an application for as long as the context lasts."""
    with Served(app, drain, **settings) as served:
        yield served

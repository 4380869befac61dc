"""An SSE server with nothing between it and the socket; see :mod:`bench.rivals.raw_socket`.

Run as ``python -m bench.rivals.raw_server <port>``.
"""

import asyncio
import re
import sys
from itertools import count
from typing import Final, cast

import msgspec
import uvloop

from bench.rivals.chunk import encode_chunk
from bench.target import Work
from ops.ports import LOOPBACK

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END: Final = b"0\r\n\r\n"
AT_ONCE: Final = 100
"""How many chunks go into one write when there is no interval between them."""

_length: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def frame(index: int) -> bytes:
    """Make a chunk, now, as an event in an HTTP chunk of its own."""
    event = b"id: %d\nevent: chunk\ndata: %b\n\n" % (index, encode_chunk(index))
    return b"%x\r\n%b\r\n" % (len(event), event)


class Stream:
    """One stream: a timer that writes to whoever reads.

    It keeps to its schedule: a late chunk does not make the next ones late.

    Args:
        work: What it does.
        kept: Whether it goes on without readers, and keeps what it has written for later ones.
    """

    def __init__(self, work: Work, *, kept: bool) -> None:
        self._work = work
        self._kept = bytearray() if kept else None
        self._readers: set[asyncio.Transport] = set()
        self._next = 0
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time() + work.delay
        self._ended = False
        self._timer: asyncio.Handle = self._loop.call_later(work.delay, self._tick)

    def add(self, reader: asyncio.Transport) -> None:
        """Have a reader: it gets what was kept, then everything as it comes."""
        reader.write(HEAD + (self._kept or b""))
        if self._ended:
            reader.write(END)
            reader.close()
        else:
            self._readers.add(reader)

    def remove(self, reader: asyncio.Transport) -> None:
        """Forget a reader; a stream that nobody else can read ends."""
        self._readers.discard(reader)
        if self._kept is None:
            self._timer.cancel()

    def _tick(self) -> None:
        work = self._work
        upto = min(self._next + (1 if work.interval else AT_ONCE), work.events)
        data = b"".join(map(frame, range(self._next, upto)))
        self._next = upto
        if self._kept is not None:
            self._kept += data
        for reader in self._readers:
            reader.write(data)
        if upto < work.events:
            wait = self._began + upto * work.interval - self._loop.time()
            self._timer = self._loop.call_later(max(0.0, wait), self._tick)
        else:
            self._end()

    def _end(self) -> None:
        self._ended = True
        for reader in self._readers:
            reader.write(END)
            reader.close()
        self._readers.clear()


class Server:
    """All streams that were begun without a reader, by their names."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._names = map(str, count(1))

    def begin(self, work: Work) -> str:
        """Start a stream that nobody reads yet; returns its name. It is kept for good."""
        name = next(self._names)
        self._streams[name] = Stream(work, kept=True)
        return name

    def find(self, name: str) -> Stream | None:
        """Find a stream by its name."""
        return self._streams.get(name)


class Connection(asyncio.Protocol):
    """One request and its answer. What a slow reader does not take waits in memory.

    Args:
        server: Where streams are kept.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport
        self._stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's says nothing of what it is

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Stop reading the stream."""
        if self._stream is not None:
            self._stream.remove(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the request is complete."""
        self._received += data
        head, complete, body = self._received.partition(b"\r\n\r\n")
        if not complete:
            return
        length = _length.search(head)
        if length is None or len(body) >= int(length[1]):
            self._received = b""
            method, path, _ = head.decode().split(" ", 2)
            self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if (method, path) == ("POST", "/stream"):
            self._stream = Stream(msgspec.json.decode(body, type=Work), kept=False)
        elif (method, path) == ("POST", "/streams"):
            name = self._server.begin(msgspec.json.decode(body, type=Work))
            self._say(b"201 Created", msgspec.json.encode({"id": name}))
            return
        else:
            self._stream = self._server.find(path.removeprefix("/stream/"))
        if self._stream is None:
            self._say(b"404 Not Found", b"")
        else:
            self._stream.add(self._transport)

    def _say(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)
        self._transport.close()


async def serve(port: int) -> None:
    """Serve until the process is stopped."""
    server = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), LOOPBACK, port, backlog=4096)
    await listening.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))

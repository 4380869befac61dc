"""The readers: thousands of plain sockets in this process, and what each received when.

A reader costs as little as it can, since it runs on the machine that it measures: it notes the time of
each piece that arrives and looks into none of them before all is over.
"""

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple, TypeVar, cast

import uvloop

from bench.target import STAMP, Request

LAST_CHUNK: Final = b"0\r\n\r\n"
"""How a response with chunked transfer coding ends."""

T = TypeVar("T")


class Seen(NamedTuple):
    """A chunk of a stream, as a reader got it.

    Attributes:
        number: Which one, from 0.
        made: When its producer made it, in monotonic ns.
        got: When it arrived here, in monotonic ns.
    """

    number: int
    made: int
    got: int

    @property
    def latency_ms(self) -> float:
        """How long it was on its way, in ms."""
        return (self.got - self.made) / 1e6


class Reader(asyncio.Protocol):
    """One request on a connection of its own, and all that comes back.

    Attributes:
        began: When the connection was asked for, in monotonic ns.
        ended: Set once the response is complete or the connection is closed.
    """

    def __init__(self) -> None:
        self.began = time.monotonic_ns()
        self.ended = asyncio.Event()
        self._heard = asyncio.Event()
        self._times: list[int] = []
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, the same methods

    def data_received(self, data: bytes) -> None:
        """Note what came, and when."""
        self._times.append(time.monotonic_ns())
        self._parts.append(data)
        self._heard.set()
        if data.endswith(LAST_CHUNK):
            self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note that no more will come."""
        self._heard.set()
        self.ended.set()

    def ask(self, data: bytes) -> None:
        """Send the request."""
        assert self._transport is not None
        self._transport.write(data)

    async def until(self, what: bytes) -> None:
        """Wait until something was received, however it is cut into pieces, or no more will come."""
        while what not in self.received and not self.ended.is_set():
            self._heard.clear()
            await self._heard.wait()

    async def until_chunk(self) -> None:
        """Wait until a chunk was received, or no more will come."""
        while STAMP.search(self.received) is None and not self.ended.is_set():
            self._heard.clear()
            await self._heard.wait()

    def close(self) -> None:
        """Close the connection, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def received(self) -> bytes:
        """All bytes so far."""
        return b"".join(self._parts)

    def came(self, what: bytes) -> int | None:
        """Tell when the first of something was complete, in monotonic ns; ``None``: never."""
        at = self.received.find(what)
        if at < 0:
            return None
        return self._times[bisect_left(list(accumulate(map(len, self._parts))), at + len(what))]

    def seen(self, *, whole: bool = False) -> Iterator[Seen]:
        """Find the chunks in what was received.

        Args:
            whole: Only those whose event was received whole: after a cut, a client forgets the others.
        """
        received = self.received
        upto = len(received)
        if whole:
            upto = max(received.rfind(b"\n\n"), received.rfind(b"\r\n\r\n"))
        ends = list(accumulate(map(len, self._parts)))
        for match in STAMP.finditer(received):
            if match.end() > upto:
                break
            got = self._times[bisect_left(ends, match.end())]
            yield Seen(int(match[1]), int(match[2]), got)


async def connect(request: Request) -> Reader:
    """Open a connection and send a request."""
    loop = asyncio.get_running_loop()
    reader = Reader()
    await loop.create_connection(lambda: reader, "127.0.0.1", request.port)
    reader.ask(request.data)
    return reader


@contextlib.asynccontextmanager
async def readers(
    count: int, make: Callable[[], Request], *, over: float = 0.0
) -> AsyncIterator[list[Reader]]:
    """Open many readers, and close them at the end.

    Args:
        count: How many.
        make: Makes each one's request.
        over: In how much time, evenly, in s; 0: as fast as it goes.
    """
    loop = asyncio.get_running_loop()
    opened: list[Reader] = []
    began = loop.time()
    try:
        for number in range(count):
            ahead = began + number * over / count - loop.time()
            if ahead > 0:
                await asyncio.sleep(ahead)
            opened.append(await connect(make()))
        yield opened
    finally:
        for reader in opened:
            reader.close()


async def until_chunks(opened: Iterable[Reader], patience: float) -> None:
    """Wait until every reader has a chunk, or for as long as one likes.

    Args:
        opened: The readers.
        patience: For how long at most, in s.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            for reader in opened:
                await reader.until_chunk()


async def until_ended(opened: Iterable[Reader], patience: float) -> None:
    """Wait until all responses are complete, or for as long as one likes.

    Args:
        opened: The readers.
        patience: For how long at most, in s.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            for reader in opened:
                await reader.ended.wait()


def run(work: Awaitable[T]) -> T:
    """Run a scenario's readers on the fastest loop there is."""

    async def main() -> T:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())

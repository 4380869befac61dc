"""How fast we append from one process, and execute through the whole path."""

import asyncio
import time
from typing import Final, cast

from bench.load import LAST_CHUNK
from machpay._position import Position, new_execution_id
from ops.ports import LOOPBACK
from shared.bill import Used
from shared.entry import CLAIM
from shared.keys import fence_key, log_key
from shared.log import EventLog, NewEvent
from shared.redis import connect
from shared.terms import Terms, encode_terms

EVENT: Final[NewEvent] = ("chunk", b'"' + b"x" * 28 + b'"')
"""A payload of 30 bytes."""

_ATTEMPT: Final = 1
_END: Final = b"\nevent: end\n"
_TTL: Final = 600.0


async def append(url: str, batch: int, seconds: float) -> float:
    """Append to one log, one acknowledged batch after the other; returns events per second.

    Args:
        url: Of the store.
        batch: How many events to an append.
        seconds: For how long.
    """
    redis = connect(url)
    log = EventLog(redis)
    execution_id = new_execution_id()
    terms = Terms(owner="bench", skill_id="bench", created_at=0)
    try:
        await log.start(execution_id, b"{}", encode_terms(terms), ttl=_TTL)
        await log.append(execution_id, Position(_ATTEMPT, 2), [(CLAIM, b"{}")], used=Used())
        events = [EVENT] * batch
        seq = 3
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            used = Used(seq, seq, seq)
            await log.append(execution_id, Position(_ATTEMPT, seq), events, used=used)
            seq += batch
        await redis.unlink(log_key(execution_id), fence_key(execution_id))
    finally:
        await redis.aclose()
    return (seq - 3) / took


class Starts:
    """How many executions are still to be started, and what became of the others.

    Args:
        count: How many are to be started.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._open = count
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self) -> bool:
        """Tell whether one more is to be started; the caller does."""
        self._left -= 1
        return self._left >= 0

    def complete(self) -> None:
        """Count one that was read to its end."""
        self._open -= 1
        if self._open == 0 and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, reason: str) -> None:
        """Give up."""
        if not self.ended.done():
            self.ended.set_exception(ConnectionError(reason))


class Client(asyncio.Protocol):
    """Starts one execution after the other on one connection, and reads each to its end.

    Args:
        request: What starts one.
        starts: Shared with the other clients.
    """

    def __init__(self, request: bytes, starts: Starts) -> None:
        self._request = request
        self._starts = starts
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, the same methods

    def start(self) -> None:
        """Start an execution, unless there are enough."""
        if self._transport is not None and self._starts.take():
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read on; at the end, start the next one."""
        self._received += data
        if not self._received.endswith(LAST_CHUNK):
            return
        if _END in self._received:
            self._starts.complete()
            self._received = b""
            self.start()
        else:
            self._starts.fail(self._received.decode(errors="replace")[-500:])

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up: an edge keeps connections open."""
        self._starts.fail(f"an edge closed a connection: {exc!r}, {self._received[-500:]!r}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()


async def execute(ports: list[int], request: bytes, count: int, clients: int) -> float:
    """Run executions; returns how many per second were read to their ends.

    Args:
        ports: Of the edges; each gets as many clients as the others.
        request: What starts one.
        count: How many, after a tenth of that to warm up.
        clients: How many at once.

    Raises:
        ConnectionError: One failed.
    """
    await _execute(ports, request, 1 + count // 10, clients)
    return count / await _execute(ports, request, count, clients)


async def _execute(ports: list[int], request: bytes, count: int, clients: int) -> float:
    """Run executions; returns how long they took, in s."""
    loop = asyncio.get_running_loop()
    starts = Starts(count)
    opened: list[Client] = []
    try:
        for number in range(clients):
            client = Client(request, starts)
            port = ports[number % len(ports)]
            await loop.create_connection(lambda made=client: made, LOOPBACK, port)  # type: ignore[misc]
            opened.append(client)
        began = time.perf_counter()
        for client in opened:
            client.start()
        await starts.ended
        return time.perf_counter() - began
    finally:
        for client in opened:
            client.close()

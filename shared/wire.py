"""An open connection to Redis whose replies are handed on the moment they arrive.

redis-py's asyncio connection reads one reply for one caller at a time; each takes a task's wake-up, a
time-out's timer and a walk through five frames. What lives from many small replies (pushes to an edge,
a worker's appends) reads them here, parsed by hiredis in the transport's own callback.

redis-py opens the connection (address, TLS, AUTH, SELECT); from then on it is ours.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Connection
from redis.exceptions import ConnectionError, ResponseError

_NOTHING: Final = object()

HIGH_WATER: Final = 1 << 20
"""How many bytes may wait for the kernel, until whoever sends is asked to wait."""


class Wire(asyncio.Protocol):
    """A connection.

    Args:
        on_reply: Called with each reply, in order; an error of Redis is a ``ResponseError`` then.
        on_lost: Called once when the connection is closed, by whomever.
        on_read: Called when all that has arrived was handed on.

    Attributes:
        writable: Cleared while too much waits for the kernel.
    """

    def __init__(
        self,
        on_reply: Callable[[Any], object],
        on_lost: Callable[[], object],
        on_read: Callable[[], object] | None = None,
    ) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._on_read = on_read
        self._reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=ResponseError, notEnoughData=_NOTHING
        )
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def open(
        cls,
        connection: Connection,
        on_reply: Callable[[Any], object],
        on_lost: Callable[[], object],
        on_read: Callable[[], object] | None = None,
    ) -> "Wire":
        """Connect, and take the connection over from redis-py.

        Args:
            connection: Not yet connected; it says where, and how long that may take.
            on_reply: As for the class.
            on_lost: As for the class.
            on_read: As for the class.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached, or refuses us.
        """
        await connection.connect()  # type: ignore[no-untyped-call]
        # Private, but redis-py has no other way to lend its socket; its version is pinned.
        reader, writer = connection._reader, connection._writer  # noqa: SLF001
        if reader is None or writer is None or reader.at_eof() or writer.transport.is_closing():
            raise ConnectionError("closed as soon as it was open")
        # Kept, but not by redis-py: either would close the transport with its last reference.
        connection._reader = connection._writer = None  # noqa: SLF001
        wire = cls(on_reply, on_lost, on_read)
        wire._writer = writer
        wire._transport = transport = cast(asyncio.Transport, writer.transport)
        transport.set_write_buffer_limits(HIGH_WATER)
        transport.set_protocol(wire)
        return wire

    def write(self, data: bytes) -> None:
        """Send packed commands, in the order of calls.

        Raises:
            ConnectionError: The connection is closed.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._transport.write(data)

    def close(self) -> None:
        """Close it at once; ``on_lost`` is called, soon."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came and hand it on."""
        reader, on_reply = self._reader, self._on_reply
        try:
            reader.feed(data)
            # What a reply leads to may close the connection: nobody waits for those behind it any more.
            while not self._closed and (reply := reader.gets()) is not _NOTHING:
                on_reply(reply)
        except ConnectionError:
            self.close()  # not the protocol: whatever that is, nothing after it can be trusted
            return
        if self._on_read is not None and not self._closed:
            self._on_read()

    def pause_writing(self) -> None:
        """Ask senders to wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell whoever uses it."""
        self._transport = None
        self.writable.set()
        self._on_lost()

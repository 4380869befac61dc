"""The publisher: takes chunks as they come and appends them in batches that form by themselves.

While one append is in flight, the next batch gathers. So a chunk alone waits for nothing, and a
fast generator is batched as much as Redis is slow. The buffer is bounded: a generator that outruns
Redis is held back, not buffered.
"""

import asyncio
import logging
from typing import Final

from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import TERMINAL, ChunkEvent
from shared.cancellation import cancelled
from shared.log import RUNNING_MARGIN, EventLog, NewEvent
from shared.patience import patiently
from workers.claim import Claim

logger: Final = logging.getLogger("machpay.publisher")

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 512 * 1024
"""The most that one append carries: Redis serves nobody else while it runs the script."""

BUFFER_EVENTS: Final = 2 * BATCH_EVENTS
BUFFER_BYTES: Final = 2 * BATCH_BYTES


class Publisher:
    """Appends what one attempt produces.

    :meth:`run` must run beside the producer, in a task that somebody owns; an append that is
    refused (fenced, ended, expired, lost) ends it with that error.

    Args:
        log: The event logs.
        claim: The attempt to write.
    """

    def __init__(self, log: EventLog, claim: Claim) -> None:
        self._log = log
        self._claim = claim
        self._next_seq = claim.next_seq
        self._buffer: list[NewEvent] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._aborted: Exception | None = None

    async def publish(self, chunks: list[ChunkEvent]) -> None:
        """Take chunks; return when there is room for more.

        Args:
            chunks: In order; each becomes one event.
        """
        for chunk in chunks:
            self._put(("chunk", encode_payload(chunk)))
        if len(self._buffer) >= BUFFER_EVENTS or self._size >= BUFFER_BYTES:
            self._space.clear()
            await self._space.wait()

    def finish(self, event: NewEvent) -> None:
        """Take the terminal event: :meth:`run` returns once it, and all before it, is written."""
        self._put(event)

    def abort(self, reason: Exception) -> None:
        """Have :meth:`run` end with an error, soon: what is in flight is still waited for."""
        self._aborted = reason
        self._filled.set()

    def _put(self, event: NewEvent) -> None:
        self._buffer.append(event)
        self._size += len(event[1])
        self._filled.set()

    async def run(self) -> None:
        """Append until the terminal event is in the log.

        Raises:
            LogError: The log refuses this writer.
            TimeoutError: Redis was away for longer than the log lives.
            RedisError: Redis refuses for a reason that waiting won't mend.
            Exception: What :meth:`abort` was given.
        """
        while not cancelled():
            await self._filled.wait()
            if self._aborted is not None:
                raise self._aborted
            batch = self._take()
            await self._append(batch)
            self._next_seq += len(batch)
            if batch[-1][0] in TERMINAL:
                return
        raise asyncio.CancelledError

    def _take(self) -> list[NewEvent]:
        size = count = 0
        for _, payload in self._buffer[:BATCH_EVENTS]:
            size += len(payload)
            if count and size > BATCH_BYTES:
                size -= len(payload)
                break
            count += 1
        batch = self._buffer[:count]
        del self._buffer[:count]
        self._size -= size
        if not self._buffer:
            self._filled.clear()
        if len(self._buffer) < BUFFER_EVENTS and self._size < BUFFER_BYTES:
            self._space.set()
        return batch

    async def _append(self, batch: list[NewEvent]) -> None:
        """Append one batch, however long Redis is away; repeating it is harmless (append.lua)."""
        first = Position(self._claim.attempt, self._next_seq)
        execution_id = self._claim.execution_id

        async def append() -> None:
            await self._log.append(execution_id, first, batch)

        await patiently(append, logger, execution_id, RUNNING_MARGIN)

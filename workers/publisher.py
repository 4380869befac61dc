"""The publisher: takes chunks as they come and appends them in batches that form by themselves.

While one append is in flight, the next batch gathers. So a chunk alone waits for nothing, and a
fast generator is batched as much as Redis is slow. The buffer is bounded: a generator that outruns
Redis is held back, not buffered.
"""

import asyncio
import logging
import time
from typing import Any, Final

from machpay._output import Piece
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import TERMINAL
from shared.bill import Used
from shared.cancellation import cancelled
from shared.log import RUNNING_MARGIN, EventLog, NewEvent
from shared.patience import patiently
from shared.refusals import LogError
from workers.claim import Claim

logger: Final = logging.getLogger("machpay.publisher")

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 512 * 1024
"""The most that one append carries: Redis serves nobody else while it runs the script."""

BUFFER_EVENTS: Final = 2 * BATCH_EVENTS
BUFFER_BYTES: Final = 2 * BATCH_BYTES


class Publisher:
    """Appends what one attempt produces.

    An append is begun where its first chunk is taken, and its answer begins the next one: no task wakes
    up for that, there being thousands of publishers. :meth:`run` must run beside the producer, in a task
    that somebody owns: it waits for what goes wrong. An append that meets a Redis that is away is
    repeated there; one that is refused (fenced, ended, expired, lost) ends it with that error.

    Args:
        log: The event logs.
        claim: The attempt to write.
        began: When it was claimed, by the monotonic clock, in s.
    """

    def __init__(self, log: EventLog, claim: Claim, began: float) -> None:
        self._log = log
        self._claim = claim
        self._began = began
        self._keys = log.keys(claim.execution_id)
        self._next_seq = claim.next_seq
        self._buffer: list[NewEvent] = []
        self._counts: list[tuple[int, int]] = []
        self._size = 0
        self._in_flight: list[NewEvent] = []
        self._used = Used()
        self._space = asyncio.Event()
        self._space.set()
        self._news = asyncio.Event()
        self._broke = False
        self._refused: LogError | None = None
        self._finished = False
        self._stopped = False
        self._aborted: Exception | None = None

    async def publish(self, pieces: list[Piece]) -> None:
        """Take chunks; return when there is room for more.

        Args:
            pieces: In order; each becomes one event.
        """
        for chunk, tokens in pieces:
            self._put(("chunk", encode_payload(chunk)), chunk.index + 1, tokens)
        self._begin()
        if self._full():
            self._space.clear()
            await self._space.wait()

    def at_once(self, pieces: list[Piece]) -> bool:
        """Take chunks if there is room, else none of them.

        Args:
            pieces: As for :meth:`publish`.
        """
        if self._full():
            return False
        for chunk, tokens in pieces:
            self._put(("chunk", encode_payload(chunk)), chunk.index + 1, tokens)
        self._begin()
        return True

    def finish(self, event: NewEvent, used: Used) -> None:
        """Take the terminal event: :meth:`run` returns once it, and all before it, is written.

        Args:
            event: The event.
            used: What the attempt used; its time is taken when it is written.
        """
        self._put(event, used.chunks, used.tokens)
        self._begin()

    def abort(self, reason: Exception) -> None:
        """Have :meth:`run` end with an error, soon: what is in flight is still waited for."""
        self._aborted = reason
        self._news.set()

    def _put(self, event: NewEvent, chunks: int, tokens: int) -> None:
        self._buffer.append(event)
        self._counts.append((chunks, tokens))
        self._size += len(event[1])

    def _full(self) -> bool:
        return len(self._buffer) >= BUFFER_EVENTS or self._size >= BUFFER_BYTES

    async def run(self) -> None:
        """Wait until the terminal event is in the log.

        Raises:
            LogError: The log refuses this writer.
            TimeoutError: Redis was away for longer than the log lives.
            RedisError: Redis refuses for a reason that waiting won't mend.
            Exception: What :meth:`abort` was given.
        """
        try:
            while not self._finished and not cancelled():
                await self._news.wait()
                self._news.clear()
                if self._refused is not None:
                    raise self._refused
                if self._broke:
                    await self._repeat()
                if self._aborted is not None and not self._in_flight:
                    raise self._aborted
            if not self._finished:
                raise asyncio.CancelledError
        finally:
            self._stopped = True

    def _begin(self) -> None:
        """Begin the next append, unless one is on its way."""
        if self._in_flight or not self._buffer or self._stopped or self._aborted is not None:
            return
        self._in_flight = batch = self._take()
        chunks, tokens = self._counts[len(batch) - 1]
        del self._counts[: len(batch)]
        ms = int((time.monotonic() - self._began) * 1000)
        self._used = used = Used(chunks, tokens, ms)
        self._log.send(self._keys, self._place, batch, used, self._answered)

    def _answered(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._broke = True
            self._news.set()
            return
        try:
            self._log.check(self._claim.execution_id, reply)
        except LogError as refusal:
            self._refused = refusal
            self._news.set()
        else:
            self._written()

    async def _repeat(self) -> None:
        """Append what is in flight, however long Redis is away; repeating is harmless (append.lua)."""
        execution_id, batch = self._claim.execution_id, self._in_flight

        async def append() -> None:
            await self._log.append(execution_id, self._place, batch, used=self._used)

        await patiently(append, logger, execution_id, RUNNING_MARGIN)
        self._broke = False
        self._written()

    def _written(self) -> None:
        batch, self._in_flight = self._in_flight, []
        self._next_seq += len(batch)
        if batch[-1][0] in TERMINAL:
            self._finished = True
            self._news.set()
        elif self._aborted is not None:
            self._news.set()
        else:
            self._begin()

    @property
    def written(self) -> int:
        """The seq of the last entry that Redis said it has."""
        return self._next_seq - 1

    @property
    def _place(self) -> Position:
        return Position(self._claim.attempt, self._next_seq)

    def _take(self) -> list[NewEvent]:
        if len(self._buffer) == 1:
            batch, self._buffer, self._size = self._buffer, [], 0
            return batch
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
        if not self._full():
            self._space.set()
        return batch

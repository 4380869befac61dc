"""A tail: the newest frames of one execution, shared by all of its readers on this edge."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from edge.pieces import Pace
from machpay._position import ORIGIN, Position
from machpay._wire import FRAME
from machpay.serve.turn import Turn
from shared.entry import INTERNAL, TERMINAL

logger: Final = logging.getLogger("machpay.hub")

WINDOW_FRAMES: Final = 512
WINDOW_BYTES: Final = 1 << 20
"""What a tail keeps; a reader that lags further behind reads the log itself."""

JOIN_BYTES: Final = 256 << 10
"""About how much a reader is given at once."""


class Reader:
    """A client's stream, as its tail sees it.

    Args:
        position: Where it begins: an entry of the log, or the origin.
        now: The loop's clock, in s.
        turn: The open stream, which may have a short way to the client.

    Attributes:
        position: The last entry that the client was sent, or that it has by its cursor.
        behind: It needs the log, not just the tail.
        sent_at: When something was last sent to the client, by the loop's clock, in s.
        pace: At which it reads the log.
    """

    __slots__ = ("_doubted", "_future", "_turn", "_woken", "behind", "pace", "position", "sent_at")

    def __init__(
        self,
        position: Position,
        now: float,
        turn: Turn,
    ) -> None:
        self.position = position
        self._turn = turn
        self.pace = Pace()
        self.behind = True
        self.sent_at = now
        self._doubted: Position | None = None
        self._woken = False
        self._future: asyncio.Future[None] | None = None

    async def wait(self, limit: float | None = None) -> None:
        """Wait until :meth:`wake`, or not at all when that happened since the last wait.

        Args:
            limit: For how long at most, in s.
        """
        if not self._woken:
            loop = asyncio.get_running_loop()
            self._future = loop.create_future()
            timer = None if limit is None else loop.call_later(limit, self.wake)
            try:
                await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self._woken = False

    def doubts(self) -> bool:
        """Take note that its tail was lost; whether it should look for itself, once from each place.

        The log is shorter than what *somebody* has seen of it: perhaps not than what this one has.
        """
        if self._doubted == self.position:
            return False
        self._doubted = self.position
        self.behind = True
        return True

    def give(self, block: bytes, before: Position, after: Position, now: float) -> None:
        """Send the client what just came, if all it waits for is that; else wake the reader.

        Args:
            block: Whole frames, or nothing.
            before: After which entry they come.
            after: The last one of them.
            now: The loop's clock, in s.
        """
        push = self._turn.push
        if (
            push is None
            or self._future is None
            or self._future.done()
            or self.behind
            or self.position != before
        ):
            self.wake()
        elif not block:
            self.position = after
        elif self._pushed(push, block):
            self.position = after
            self.sent_at = now
        else:
            self.wake()

    def _pushed(self, push: Callable[[bytes], bool], block: bytes) -> bool:
        try:
            return push(block)
        except Exception:
            # One client's connection; all others live from the one that we are called from.
            logger.exception("a push failed; the client's own task finds out why")
            return False

    def wake(self) -> None:
        """Wake the reader: there is news."""
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Tail:
    """The newest frames of one execution.

    ``frames[i]`` belongs to seq ``base + i``; seqs are contiguous, so a reader needs only its
    position. Entries that clients don't see are empty frames.

    Attributes:
        top: The newest entry seen; ``None`` until the log was looked at.
        ended: The terminal event is in.
        lost: The log is shorter than what was seen of it: Redis lost its tail.
        dirty: A hole, a reconnection or a long silence: look at the log.
        begun_at: When an execution that is started here was, by the loop's clock, in s, until its first
            chunk is in; ``None`` of all others.
        first_waits: That chunk is in, and nobody read here when it came.
        expected: Done when pushes come, for an execution that is about to be started here.
        looking: Somebody is looking at the log already.
        overdue_at: When one of its limits may have passed, by the loop's clock, in s.
        heard_at: When something was last heard of the log, by the loop's clock, in s.
        readers: Who reads it here.
        idle_ticks: For how many ticks of the hub nobody did.
        closed: The hub forgot it.
        pace: At which the log is read.
    """

    def __init__(self, execution_id: str, now: float) -> None:
        self.execution_id = execution_id
        self.top: Position | None = None
        self.ended = False
        self.lost = False
        self.dirty = False
        self.looking = False
        self.begun_at: float | None = None
        self.first_waits = False
        self.expected: asyncio.Future[None] | None = None
        self.heard_at = now
        self.overdue_at: float | None = None
        self.readers: set[Reader] = set()
        self.idle_ticks = 0
        self.closed = False
        self.pace = Pace()
        self._prefix = execution_id.encode() + b"."
        self._base = 0
        self._expected = b""
        self._frames: list[bytes] = []
        self._attempts: list[int] = []
        self._size = 0

    def begin_at_start(self, start: bytes) -> None:
        """Begin with the first entry, which was just written and is all there is.

        Args:
            start: The ``start`` event's payload.
        """
        self._base = 1
        self._append(0, 1, b"start", start)
        self.wake()

    def begin(self, top: Position, *, ended: bool) -> None:
        """Begin after an entry: what is before it, readers take from the log."""
        self.top = top
        self.ended = ended
        self._base = top.seq + 1
        self._expected = b"%d-%d" % (top.attempt, top.seq + 1)

    def take(self, first: Position, events: list[tuple[bytes, bytes]], now: float) -> None:
        """Take a batch that was pushed, or read from the log; what is known already is skipped.

        Args:
            first: The position of the batch's first event.
            events: Type and payload of each.
            now: The loop's clock, in s.
        """
        if self.top is None or self.ended or not events:
            return
        if first.attempt < self.top.attempt:
            # No fenced writer gets this far: the log is not what it was, or this was long on its way.
            self.dirty = True
            return
        known = self.top.seq + 1 - first.seq
        newer = first.attempt > self.top.attempt
        # A hole; or an attempt that begins inside of what we have, or without its claim: whatever
        # that is, the log knows better.
        if known < 0 or (newer and (known > 0 or events[0][0] not in (b"claim", b"error"))):
            self.dirty = True
            return
        self.heard_at = now
        fresh = events[known:]
        if fresh:
            for seq, (kind, data) in enumerate(fresh, first.seq + known):
                self._append(first.attempt, seq, kind, data)
            self.wake()

    def take_next(self, id_: bytes, kind: bytes, data: bytes, now: float) -> bool:
        """Take the one event that all is waiting for, as nearly every push is.

        Args:
            id_: Its id.
            kind: Its type.
            data: Its payload.
            now: The loop's clock, in s.

        Returns:
            False when it is another one: :meth:`take` it.
        """
        before = self.top
        if before is None or id_ != self._expected or self.ended:
            return False
        self.heard_at = now
        after = self._append(before.attempt, before.seq + 1, kind, data)
        if kind in TERMINAL:
            self.wake()
        else:
            block = self._frames[-1]
            for reader in self.readers:
                reader.give(block, before, after, now)
        return True

    def _append(self, attempt: int, seq: int, kind: bytes, data: bytes) -> Position:
        block = b""
        if kind not in INTERNAL:
            block = FRAME % (kind, data, b"%b%d-%d" % (self._prefix, attempt, seq))
        self._frames.append(block)
        self._attempts.append(attempt)
        self._size += len(block)
        if len(self._frames) >= 2 * WINDOW_FRAMES or self._size >= 2 * WINDOW_BYTES:
            self._trim()
        self.top = top = Position(attempt, seq)
        self._expected = b"%d-%d" % (attempt, seq + 1)
        self.ended = kind in TERMINAL
        return top

    def _trim(self) -> None:
        keep = size = 0
        for block in reversed(self._frames):
            if keep >= WINDOW_FRAMES or size >= WINDOW_BYTES:
                break
            keep += 1
            size += len(block)
        cut = len(self._frames) - keep
        del self._frames[:cut], self._attempts[:cut]
        self._base += cut
        self._size = size

    def covers(self, position: Position) -> bool:
        """Tell whether the window holds all that follows a position."""
        return self.top is not None and position.seq >= self._base - 1

    def has(self, position: Position) -> bool:
        """Tell whether the window has this very entry, or is whole and this is the origin."""
        index = position.seq - self._base
        if position == ORIGIN:
            return self._base == 1
        return 0 <= index < len(self._attempts) and self._attempts[index] == position.attempt

    def agrees(self, position: Position) -> bool:
        """Tell whether a position is of the log that the window shows.

        It is not when Redis lost the log's tail, and others went on from where it ends now.
        """
        index = position.seq - self._base
        return not 0 <= index < len(self._attempts) or self._attempts[index] == position.attempt

    def after(self, position: Position) -> tuple[bytes, Position]:
        """Join the frames that follow a position which the window covers.

        Returns:
            The bytes, possibly none, and the position they reach.
        """
        start = position.seq + 1 - self._base
        stop = len(self._frames)
        if start >= stop:
            return b"", position
        if self._size > JOIN_BYTES:
            size = 0
            for index in range(start, stop):
                size += len(self._frames[index])
                if size >= JOIN_BYTES:
                    stop = index + 1
                    break
        reached = Position(self._attempts[stop - 1], self._base + stop - 1)
        if stop - start == 1:
            return self._frames[start], reached
        return b"".join(self._frames[start:stop]), reached

    def wake(self) -> None:
        """Wake all readers."""
        for reader in self.readers:
            reader.wake()

"""The hub: one subscription connection and shared tails, for all streams of this process.

A reader first reads the log, and needs nothing else when the execution has ended. Else it joins the
execution's tail: subscribe, then look where the log ends, then live from the pushes. (Of an execution
that is started here the tail is there before the first entry, and the log need not be read.) A hole in
seq, a lost connection or a long silence sends the tail back to the log, which alone is the truth.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextvars import Context
from typing import Final

from redis.exceptions import ConnectionError

from edge.pieces import Pieces
from edge.stopwatch import Stopwatch
from edge.subscription import Subscription
from edge.tail import Reader, Tail
from machpay._position import ORIGIN, Position
from machpay._wire import FRAME, HEARTBEAT
from machpay.serve.responses import log_lost_frame
from machpay.serve.turn import Turn
from shared.cancellation import cancelled
from shared.entry import INTERNAL, Entry, parse_batch
from shared.keys import log_key
from shared.log import EventLog, Summary
from shared.overdue import Overdue, look_in
from shared.pulse import Tally
from shared.redis import is_away
from shared.terms import Terms

logger: Final = logging.getLogger("machpay.hub")

TICK: Final = 0.5
"""How often heartbeats and silent tails are looked after, in s."""

SUBSCRIBED_WITHIN: Final = 0.5
"""How long a start waits until pushes come, in s; its reader looks into the log then."""

RETRY_END: Final = 1.0
"""How long after one try to end an overdue execution the next one is made, in s."""

LINGER_TICKS: Final = 2
"""For how many ticks a tail is kept that nobody reads: a reconnecting reader finds it open."""


class Hub:
    """Reads executions for any number of readers.

    :meth:`run` must run in a task that somebody owns.

    Args:
        log: The event logs.
        url: The logs' Redis, for the subscription.
        overdue: Ends what nobody runs any more.
        heartbeat: After how much silence a reader gets a heartbeat, in s.
        tally: Counts what is measured here.

    Attributes:
        pieces: What reads the logs.
    """

    def __init__(
        self,
        log: EventLog,
        url: str,
        overdue: Overdue,
        *,
        heartbeat: float = 15.0,
        tally: Tally | None = None,
    ) -> None:
        self._log = log
        self._overdue = overdue
        self.pieces = Pieces(log)
        self._heartbeat = heartbeat
        self._stopwatch = Stopwatch(tally or Tally())
        self._tails: dict[str, Tail] = {}
        self._channels: dict[bytes, Tail] = {}
        self._subscription = Subscription(url, self._pushed, self._reconnected)

    async def run(self) -> None:
        """Serve readers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._subscription.run(), name="subscription")
            tasks.create_task(self._tick(), name="heartbeats")

    async def read(
        self, execution_id: str, after: Position, turn: Turn
    ) -> AsyncGenerator[bytes, None]:
        """Read frames after a position, live, until the terminal event.

        A Redis that is away is waited for.

        Args:
            execution_id: The execution.
            after: An entry of its log, or the origin.
            turn: When it has to go.

        Yields:
            Frames, several joined, or a heartbeat; always whole events. The iterator ends after
            the terminal event, or early when its turn has come: the client then reconnects. Not
            before its first event, though: it would not know what to resume.
        """
        loop = asyncio.get_running_loop()
        reader = Reader(after, loop.time(), turn)
        turn.on_come(reader.wake)
        tail = self._join_at_once(execution_id, reader)
        try:
            while not turn.came or reader.position == ORIGIN:
                if tail is not None and tail.lost and reader.doubts():
                    tail.readers.discard(reader)
                    tail = None
                found = None if tail is None else self._from_tail(tail, reader)
                block, ended = found or await self._read_log(execution_id, reader)
                if block:
                    reader.sent_at = loop.time()
                    turn.over = ended
                    yield block
                if ended:
                    return
                if tail is None and not reader.behind:
                    # All that was there is sent, and it has no end yet: from here on, live.
                    tail = self._join(execution_id, reader)
                elif not block:
                    await reader.wait(TICK if tail is None else None)
                    if loop.time() - reader.sent_at >= self._heartbeat:
                        reader.sent_at = loop.time()
                        yield HEARTBEAT
        finally:
            if tail is not None:
                tail.readers.discard(reader)

    def _from_tail(self, tail: Tail, reader: Reader) -> tuple[bytes, bool] | None:
        """Take what follows from the tail's window.

        Returns:
            Whole frames, or nothing when there is nothing yet, and whether the stream ends with them;
            ``None`` when the log has to be read.
        """
        position = reader.position
        if tail.lost or not tail.agrees(position):
            return log_lost_frame(tail.execution_id, position), True
        if tail.top is None:
            return b"", False
        if reader.behind or not tail.covers(position):
            reader.behind = True
            return None
        block, reader.position = tail.after(position)
        return block, tail.ended and reader.position == tail.top

    async def _read_log(self, execution_id: str, reader: Reader) -> tuple[bytes, bool]:
        """Take what follows from the log, if it still has what the reader has.

        Returns:
            As for :meth:`_from_tail`.
        """
        after = reader.position
        known = after != ORIGIN
        try:
            entries, reader.behind = await self.pieces.read(
                execution_id, after, reader.pace, inclusive=known
            )
        except Exception as error:
            if is_away(error):
                return b"", False  # it is still behind, and tries again at the next tick
            logger.exception("%s: the log can't be read", execution_id)
            return log_lost_frame(execution_id, after), True
        if not entries or (known and entries[0].position != after):
            return log_lost_frame(execution_id, after), True
        reader.position = entries[-1].position
        return frames(execution_id, entries[known:]), entries[-1].terminal

    # -- executions that are started here --------------------------------------------------------

    def expect(self, execution_id: str) -> None:
        """Subscribe to an execution that is about to be started here, while its start is on its way.

        Its reader then needs nothing from the log. :meth:`begun` or :meth:`forget` must follow.
        """
        if execution_id in self._tails:
            return
        tail = self._new_tail(execution_id)
        tail.begun_at = asyncio.get_running_loop().time()
        try:
            tail.expected = self._subscription.ask(log_key(execution_id))
        except ConnectionError:
            self._drop(tail)

    async def begun(self, execution_id: str, start: bytes, terms: Terms) -> None:
        """Note that an execution was started, and is not queued here yet.

        Args:
            execution_id: From :meth:`expect`.
            start: The ``start`` event's payload.
            terms: What was agreed.
        """
        tail = self._tails.get(execution_id)
        if tail is None or tail.expected is None:
            return
        expected = tail.expected
        waited = not expected.done()
        if waited:
            await asyncio.wait([expected], timeout=SUBSCRIBED_WITHIN)
        subscribed = expected.done() and expected.exception() is None
        if not subscribed or tail.closed or tail.looking or tail.top is not None:
            self.forget(execution_id)
            return
        tail.expected = None
        tail.begin_at_start(start)
        if waited:
            # A start under the same key, at another edge, may have queued the job meanwhile.
            self._look_at(tail)
        summary = Summary(terms, Entry(b"0-1", b"start", start), found=True)
        tail.overdue_at = asyncio.get_running_loop().time() + look_in(summary)

    def forget(self, execution_id: str) -> None:
        """Note that an execution which was expected is none that was started here and now."""
        tail = self._tails.get(execution_id)
        if tail is not None and tail.expected is not None:
            tail.expected = tail.begun_at = None
            if not tail.readers and not tail.looking:
                self._drop(tail)

    def _join_at_once(self, execution_id: str, reader: Reader) -> Tail | None:
        """Join a tail whose window has all that a reader needs, if there is one."""
        tail = self._tails.get(execution_id)
        if tail is None or tail.lost or not tail.has(reader.position):
            return None
        tail.readers.add(reader)
        tail.idle_ticks = 0
        reader.behind = False
        self._stopwatch.joined(tail)
        return tail

    # -- tails -----------------------------------------------------------------------------------

    def _new_tail(self, execution_id: str) -> Tail:
        tail = Tail(execution_id, asyncio.get_running_loop().time())
        self._tails[execution_id] = tail
        self._channels[log_key(execution_id).encode()] = tail
        return tail

    def _drop(self, tail: Tail) -> None:
        tail.closed = True
        channel = log_key(tail.execution_id)
        del self._tails[tail.execution_id], self._channels[channel.encode()]
        self._subscription.unsubscribe(channel)

    def _join(self, execution_id: str, reader: Reader) -> Tail:
        """Join the execution's tail; the first reader opens it, :meth:`_tick` closes it."""
        tail = self._tails.get(execution_id)
        if tail is not None and tail.lost:
            # Others had seen more than there is. Who has not, is not concerned.
            tail.closed, tail = True, None
        if tail is None:
            tail = self._new_tail(execution_id)
        if tail.top is None:
            self._look_at(tail)
        tail.readers.add(reader)
        tail.idle_ticks = 0
        # What was appended before the subscription is in the log only.
        reader.behind = True
        return tail

    def _look_at(self, tail: Tail) -> None:
        """Have the log looked at, by one task at a time."""
        tail.dirty = True
        if not tail.looking:
            tail.looking = True
            # Its readers share it: what it logs is under no request's id.
            self._tasks.create_task(
                self._look(tail), name=f"look at {tail.execution_id}", context=Context()
            )

    async def _look(self, tail: Tail) -> None:
        try:
            while tail.dirty and not tail.closed:
                tail.dirty = False
                try:
                    await (self._open(tail) if tail.top is None else self._catch_up(tail))
                except Exception as error:
                    if is_away(error):
                        tail.dirty = True
                        await asyncio.sleep(TICK)
                    else:
                        # Not a log that we can read; the others must not suffer from it.
                        logger.exception("%s: the log can't be read", tail.execution_id)
                        tail.lost = True
        finally:
            tail.looking = False
            tail.wake()

    async def _open(self, tail: Tail) -> None:
        # In this order: what is appended after the look is pushed to us.
        await self._subscription.subscribe(log_key(tail.execution_id))
        summary = await self._log.describe(tail.execution_id)
        if summary is None:
            tail.lost = True
            return
        last = summary.last
        tail.begin(last.position, ended=last.terminal)
        if not last.terminal:
            tail.overdue_at = asyncio.get_running_loop().time() + look_in(summary)

    async def _catch_up(self, tail: Tail) -> None:
        more = True
        while more and tail.top is not None and not tail.ended:
            top = tail.top
            entries, more = await self.pieces.read(
                tail.execution_id, top, tail.pace, inclusive=True
            )
            if not entries or entries[0].position != top:
                # Our newest entry is gone: the log was rolled back, or has expired.
                tail.lost = tail.top == top
                return
            now = asyncio.get_running_loop().time()
            for entry in entries[1:]:
                tail.take(entry.position, [(entry.type, entry.data)], now)
            tail.heard_at = now
            self._stopwatch.batch(tail, [(entry.type, entry.data) for entry in entries[1:]], now)

    def _pushed(self, channel: bytes, payload: bytes) -> None:
        tail = self._channels.get(channel)
        if tail is None:
            return
        now = asyncio.get_running_loop().time()
        parts = payload.split(b"\n")
        if len(parts) == 3 and tail.take_next(parts[0], parts[1], parts[2], now):
            self._stopwatch.pushed(tail, parts[1], parts[2], now)
            return
        try:
            first, events = parse_batch(parts)
        except ValueError:
            logger.warning("%s: a foreign message was pushed", tail.execution_id)
            return
        tail.take(first, events, now)
        self._stopwatch.batch(tail, events, now)
        if tail.dirty:
            self._look_at(tail)

    def _reconnected(self) -> None:
        self._overdue.reconnected()
        for tail in self._tails.values():
            self._look_at(tail)

    async def _tick(self) -> None:
        """Look after heartbeats, silent tails, and tails that nobody reads any more."""
        loop = asyncio.get_running_loop()
        while not cancelled():
            await asyncio.sleep(TICK)
            now = loop.time()
            for tail in list(self._tails.values()):
                if not tail.readers:
                    self._leave(tail)
                    continue
                if now - tail.heard_at >= self._heartbeat and not tail.ended:
                    tail.heard_at = now
                    self._look_at(tail)
                if tail.overdue_at is not None and now >= tail.overdue_at:
                    tail.overdue_at = now + RETRY_END  # should this try fail
                    self._tasks.create_task(self._end_overdue(tail), name="end overdue")
                for reader in tail.readers:
                    if reader.behind or now - reader.sent_at >= self._heartbeat:
                        reader.wake()

    async def _end_overdue(self, tail: Tail) -> None:
        """End an execution that no worker brings to its end; there may be none to do it."""
        try:
            summary = await self._log.describe(tail.execution_id)
            left = None if summary is None else await self._overdue.end(tail.execution_id, summary)
        except Exception as error:  # noqa: BLE001 - tried again; the hub goes on
            logger.warning("%s: not ended yet: %s", tail.execution_id, error)
            return
        now = asyncio.get_running_loop().time()
        tail.overdue_at = None if left is None else now + max(left, RETRY_END)

    def _leave(self, tail: Tail) -> None:
        if tail.idle_ticks < LINGER_TICKS:
            tail.idle_ticks += 1
        else:
            self._drop(tail)


def frames(execution_id: str, entries: Iterable[Entry]) -> bytes:
    """Frame what clients see of some entries."""
    prefix = execution_id.encode() + b"."
    return b"".join(
        [
            FRAME % (kind, data, prefix + id_)
            for id_, kind, data, _ in entries
            if kind not in INTERNAL
        ]
    )

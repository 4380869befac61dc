"""The protocol of a resumable stream, without I/O: where a reader stands, and when it tries again.

Guarantees, however often the connection is cut, at whatever byte:

* The events that :meth:`StreamCursor.feed` yields are a prefix of the event log: none is skipped,
  none comes twice.
* ``cursor`` is the last event that was *yielded*, not the last one received: who stops in the
  middle of a batch and resumes later, in another process even, gets the rest of it.
* Only an ``end`` or an ``error`` finishes a stream. A connection that closes without one, however
  cleanly, is interrupted.

Choices where the contract leaves one:

* An event with an unknown name, from a newer server, is ignored but moves the cursor. A block
  without data is no event and does not.
* An event that is not strictly after the last one is a repetition and is dropped, with two
  exceptions, because nothing follows a terminal event and so it cannot be one: an ``error`` there
  counts (an edge whose log lost its tail can say so only at an old id, or at none), and an ``end``
  there means that the log is shorter than what was read: ``log_lost``.
"""

import random
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from machpay._position import ORIGIN, Cursor
from machpay._sse import EventTooLargeError, ServerSentEvent, SSEDecoder
from machpay.events import EVENT_TYPES, ChunkEvent, EndEvent, ErrorEvent, Event, StartEvent
from machpay.exceptions import StreamError, StreamInterrupted, error_class

__all__ = ["Backoff", "StreamCursor", "Transcript"]

DEFAULT_MAX_RETRIES: Final = 10

_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 10.0
_LONGEST_FLOOR: Final = 60.0
"""In s. A server that asks for more is not believed: a typo must not stop a client for a day."""

_decoders: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    name: msgspec.json.Decoder(type) for name, type in EVENT_TYPES.items()
}


class Backoff:
    """When to try again: exponential, with full jitter, on top of what the server asks for.

    Args:
        uniform: Draws a number between its two arguments.

    Attributes:
        failures: Tries since the last progress.
        floor: The shortest delay in s, as the server asked by ``retry:``.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self.failures: int = 0
        self.floor: float = 0.0
        self._uniform = uniform

    def progress(self) -> None:
        """Forget the failures: the stream moved."""
        self.failures = 0

    def ask(self, milliseconds: int) -> None:
        """Take the server's reconnection time, in ms; at most 60 s of it."""
        self.floor = min(milliseconds / 1000, _LONGEST_FLOOR)

    def next(self, at_least: float = 0.0) -> float:
        """Count a failure.

        Args:
            at_least: What the server asked for this once, in s (``Retry-After``).

        Returns:
            The delay before the next try, in s.
        """
        # The exponent is bounded: 2.0**1024 overflows, and a stream may fail for a week.
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return max(self.floor, at_least) + self._uniform(0.0, longest)


class StreamCursor:
    """Where a reader stands in an execution's stream, over any number of connections.

    Args:
        execution_id: The execution to read; ``None`` when the first event is to tell.
        cursor: The cursor to resume after; ``None`` reads from the start.
        max_retries: Failures in a row, without a new event between them, that are retried.
        start_retries: The same before the first event: somebody is waiting for an answer then,
            and a wrong address should not take half a minute to be told.
        backoff: When to try again.

    Attributes:
        summary: The ``end`` event, once there is one.
    """

    def __init__(
        self,
        execution_id: str | None = None,
        cursor: Cursor | None = None,
        *,
        max_retries: int = DEFAULT_MAX_RETRIES,
        start_retries: int = 3,
        backoff: Backoff | None = None,
    ) -> None:
        self.summary: EndEvent | None = None
        self._execution_id = execution_id if cursor is None else cursor.execution_id
        self._position = ORIGIN if cursor is None else cursor.position
        self._max_retries = max_retries
        self._start_retries = min(start_retries, max_retries)
        self._backoff = backoff or Backoff()
        self._decoder = SSEDecoder()
        self._finished = False
        self._moved = False

    @property
    def execution_id(self) -> str | None:
        """The execution's id, once it is known."""
        return self._execution_id

    @property
    def cursor(self) -> str | None:
        """The cursor of the last event that was yielded; ``None`` before the first."""
        if self._execution_id is None or self._position == ORIGIN:
            return None
        return str(Cursor(self._execution_id, self._position))

    @property
    def finished(self) -> bool:
        """Whether the stream is complete: there is nothing more to read."""
        return self._finished

    @property
    def moved(self) -> bool:
        """Whether any event was received here, rather than by whoever had the cursor before."""
        return self._moved

    def headers(self) -> dict[str, str]:
        """Return the request headers that make a server go on where this reader stands."""
        return {} if self.cursor is None else {"Last-Event-ID": self.cursor}

    def connected(self) -> None:
        """Begin a new connection: what is left of an unfinished block is discarded."""
        self._decoder = SSEDecoder(last_event_id=self.cursor or "")

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes of the connection, and yield the events that they complete.

        Lazy on purpose: the cursor moves with each event that is taken, so what is not taken is
        not lost. Exhaust it, or give up the connection.

        Args:
            data: Any number of bytes, cut anywhere.

        Raises:
            StreamError: ``bad_event``, an event cannot be understood; ``event_too_large``;
                ``log_lost``, the server's log is shorter than what was read from it. All events
                before it were yielded.
        """
        too_large: EventTooLargeError | None = None
        try:
            blocks = self._decoder.feed(data)
        except EventTooLargeError as error:
            blocks, too_large = error.events, error
        if self._decoder.heartbeats:
            # The connection lived for some time: a quiet stream that rotates does not fail.
            self._backoff.progress()
        if self._decoder.retry is not None:
            self._backoff.ask(self._decoder.retry)
        for block in blocks:
            if self._finished:
                return
            event = self._accept(block)
            if event is not None:
                yield event
        if too_large is not None and not self._finished:
            raise self.error("event_too_large", str(too_large)) from too_large

    def interrupted(self, *, at_least: float = 0.0, cause: StreamError | None = None) -> float:
        """Decide when to try again, after a connection that was lost, refused or just closed.

        Args:
            at_least: The shortest delay in s that the server asked for this once.
            cause: What to raise if there is no next try.

        Returns:
            The delay before the next try, in s.

        Raises:
            StreamInterrupted: Too many failures in a row without a new event, and no ``cause``.
            StreamError: The same, with ``cause``.
        """
        limit = self._max_retries if self.cursor is not None else self._start_retries
        if self._backoff.failures < limit:
            return self._backoff.next(at_least)
        raise cause or self.interruption("interrupted", "the connection was lost")

    def identify(self, execution_id: str) -> None:
        """Learn which execution this is, other than by its first event."""
        if self._execution_id is None:
            self._execution_id = execution_id

    def finish(self) -> None:
        """Finish a stream that never began."""
        self._finished = True

    def nothing_follows(self) -> None:
        """Take the server's word that its log ends at the cursor (204 to a resume).

        It can be right when the caller's own cursor was resumed: then the caller has all, and the
        stream is finished without a ``summary``. After an event that was read here it is wrong,
        because that event was not terminal.

        Raises:
            StreamError: ``log_lost``.
        """
        if self._moved or self.cursor is None:
            raise self.error(
                "log_lost", "the server has nothing more to send, but the stream has no end"
            )
        self._finished = True

    def error(self, code: str, message: str, *, retryable: bool = False) -> StreamError:
        """Make an error that knows where the reader stands."""
        return error_class(code)(
            code,
            message,
            retryable=retryable,
            execution_id=self.execution_id,
            cursor=self.cursor,
        )

    def interruption(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> StreamInterrupted:
        """Make the error of a connection that cannot be resumed, with where the reader stands."""
        return StreamInterrupted(
            code,
            message,
            retryable=True,
            execution_id=self.execution_id,
            cursor=self.cursor,
            status=status,
            retry_after=retry_after,
            request_id=request_id,
        )

    def _accept(self, block: ServerSentEvent) -> Event | None:
        """Move to a block's position; return its event, or ``None`` if there is none to yield."""
        decoder = _decoders.get(block.event)
        cursor = self._parse(block)
        if decoder is None:
            self._move(cursor)
            return None
        if not self._is_next(cursor) and block.event != "error":
            if cursor is None:
                raise self.error("bad_event", f"a {block.event} event has no cursor of this stream")
            if block.event == "end":
                raise self.error("log_lost", "the server's log is shorter than what was read")
            return None
        try:
            event = decoder.decode(block.data)
        except (ValueError, RecursionError) as error:
            message = f"the payload of a {block.event} event cannot be decoded: {error}"
            raise self.error("bad_event", message) from error
        self._move(cursor)
        if isinstance(event, EndEvent):
            self.summary = event
        self._finished = isinstance(event, EndEvent | ErrorEvent)
        return event

    def _parse(self, block: ServerSentEvent) -> Cursor | None:
        """Read a block's id; ``None`` when it is no cursor, or one of another execution."""
        try:
            cursor = Cursor.parse(block.id)
        except ValueError:
            return None
        return cursor if self._execution_id in (None, cursor.execution_id) else None

    def _is_next(self, cursor: Cursor | None) -> bool:
        return cursor is not None and cursor.position > self._position

    def _move(self, cursor: Cursor | None) -> None:
        if cursor is not None and self._is_next(cursor):
            self._execution_id, self._position = cursor
            self._moved = True
            self._backoff.progress()


class Transcript:
    """The text of an output, gathered from its events."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, event: Event) -> None:
        """Take the next event. A ``start`` voids the text before it: the execution began again."""
        if isinstance(event, StartEvent):
            self._pieces.clear()
        elif isinstance(event, ChunkEvent):
            self._pieces.append(event.text)

    @property
    def text(self) -> str:
        """The text of all chunks that count."""
        return "".join(self._pieces)

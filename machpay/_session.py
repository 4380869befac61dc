"""What a client does with its connections, without I/O: both shells only carry it out.

A shell's whole work, sync or async::

    for connection in session.connections():
        sleep(connection.pause)
        try:
            with http.stream(connection.request) as response:
                connection.opened(response.status_code, response.headers)
                for data in response.iter_bytes():
                    yield from connection.feed(data)
                    if connection.done:
                        break
        except FAILURES as error:
            connection.lost(error)
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from machpay._requests import (
    Refusal,
    Request,
    cancel_request,
    checked_cursor,
    checked_execution_id,
    is_repeated,
    refusal,
    resume_request,
    start_request,
)
from machpay._results import Result
from machpay._stream_cursor import Backoff, StreamCursor
from machpay.events import ChunkEvent, ErrorEvent, Event
from machpay.exceptions import StreamError, StreamInterrupted

FAILURES: Final = (httpx.RequestError, httpx.StreamError)
"""What a lost connection raises. ``StreamError`` here is httpx's: a response that was closed."""

_CALL_RETRIES: Final = 3
_LONGEST_REFUSAL: Final = 64 << 10
"""How much of an error's body is read, in bytes: it may be anything, and of any length."""

_OK: Final = 200
_NO_CONTENT: Final = 204


class StreamSession:
    """One stream over as many connections as it takes.

    Args:
        start: The request that starts it; ``None`` to read an execution that exists. It is made
            again, as it is, until the first event tells the execution: under the same
            ``Idempotency-Key`` that is one start.
        cursor: Where the reader stands.

    Attributes:
        cursor: Where the reader stands.
        resumes: How many connections had to take over from another one.
        closed: Whether the reader gave the stream up.
    """

    def __init__(self, start: Request | None, cursor: StreamCursor) -> None:
        self.cursor = cursor
        self.resumes = 0
        self.closed = False
        self._start = start
        self._connected = False
        self._current: Connection | None = None

    @classmethod
    def starting(
        cls,
        skill_id: str,
        input: Mapping[str, Any],
        idempotency_key: str | None,
        max_retries: int,
    ) -> "StreamSession":
        """Make the session of an execution that the first connection starts.

        Raises:
            TypeError: As :func:`machpay._requests.start_request`.
            ValueError: As there.
        """
        start = start_request(skill_id, input, idempotency_key)
        return cls(start, StreamCursor(max_retries=max_retries))

    @classmethod
    def reading(cls, execution_id: str, cursor: str | None, max_retries: int) -> "StreamSession":
        """Make the session of an execution that exists.

        Raises:
            ValueError: It is not an execution id, or not a cursor of that execution.
        """
        after = checked_cursor(checked_execution_id(execution_id), cursor)
        return cls(None, StreamCursor(execution_id, after, max_retries=max_retries))

    def connections(self) -> Iterator["Connection"]:
        """Yield a connection to make, until the stream is finished or closed.

        Raises:
            StreamError: The server refuses, or the stream cannot be resumed.
            RuntimeError: The stream was closed before.
        """
        if self.closed:
            raise RuntimeError("the stream is closed")
        pause = 0.0
        while not self.is_over():
            connection = self._current = Connection(self, self._request(), pause)
            yield connection
            if not self.is_over():
                pause = connection.ended()

    def is_over(self) -> bool:
        """Tell whether nothing is left to read, or nobody to read it."""
        return self.closed or self.cursor.finished

    def is_current(self, connection: "Connection") -> bool:
        """Tell whether a connection is the last one that was made."""
        return self._current is connection

    def connected(self) -> None:
        """Note that the server streams."""
        self.cursor.connected()
        self.resumes += self._connected
        self._connected = True

    def chunk(self, event: Event) -> ChunkEvent | None:
        """Return an event that is a chunk, and nothing for the others.

        Raises:
            StreamError: It is an ``error`` event.
        """
        if isinstance(event, ErrorEvent):
            raise self.cursor.error(event.code, event.message, retryable=event.retryable)
        return event if isinstance(event, ChunkEvent) else None

    def result(self, text: str) -> Result:
        """Return the result of a stream that was read to its end.

        Args:
            text: What was read.

        Raises:
            StreamError: It has no end: it was closed, or resumed after its last event.
        """
        summary, execution_id = self.cursor.summary, self.cursor.execution_id
        if summary is None or execution_id is None:
            raise self.cursor.error("interrupted", "the stream was not read to its end")
        return Result(text=text, summary=summary, execution_id=execution_id)

    def cancellation(self) -> Request:
        """Return the request that stops the execution.

        Raises:
            RuntimeError: There is none yet.
        """
        if self.cursor.execution_id is None:
            raise RuntimeError("there is no execution to cancel before the first event")
        return cancel_request(self.cursor.execution_id)

    def _request(self) -> Request:
        execution_id = self.cursor.execution_id
        if execution_id is None:
            if self._start is None:
                raise ValueError("neither a start nor an execution to read")
            return self._start
        return resume_request(execution_id, self.cursor.headers())


class Connection:
    """One connection of a session.

    Attributes:
        request: What to send.
        pause: How long to wait before, in s.
    """

    def __init__(self, session: StreamSession, request: Request, pause: float) -> None:
        self.request = request
        self.pause = pause
        self._session = session
        self._cursor = session.cursor
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self._streams = False
        self._refusal_body = bytearray()
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether what may still come on this connection is of no interest."""
        return self._session.is_over() or len(self._refusal_body) >= _LONGEST_REFUSAL

    def opened(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head of the response.

        Args:
            status: The HTTP status.
            headers: By name, in lower case or case-insensitive.
        """
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._status = status
        self._headers = headers
        self._streams = status == _OK and kind == "text/event-stream"
        if self._streams:
            self._session.connected()

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes of the body, and yield the events that they complete.

        Lazy, as :meth:`machpay._stream_cursor.StreamCursor.feed` is.

        Raises:
            StreamError: As there.
            RuntimeError: Another loop began to read the same stream.
        """
        if not self._streams:
            self._refusal_body += data[: _LONGEST_REFUSAL - len(self._refusal_body)]
            return
        if not self._session.is_current(self):
            raise RuntimeError("another loop reads this stream now")
        events = self._cursor.feed(data)
        while not self._session.closed and (event := next(events, None)) is not None:
            yield event

    def lost(self, error: Exception) -> None:
        """Take the failure of the connection, before or after it was opened."""
        self._error = error

    def ended(self) -> float:
        """Decide what follows this connection.

        Returns:
            How long to wait before the next one, in s.

        Raises:
            StreamError: Nothing follows it.
        """
        if self._error is not None:
            return self._after_failure(self._error)
        if self._streams:
            return self._cursor.interrupted()
        if self._status == _NO_CONTENT and self.request.method == "GET":
            self._cursor.nothing_follows()
            return 0.0
        return self._after_refusal()

    def _after_failure(self, error: Exception) -> float:
        if not is_repeated(error):
            raise self._cursor.error("bad_request", _describe(error)) from error
        cause = self._cursor.interruption(
            "unreachable" if self._status is None else "interrupted", _describe(error)
        )
        cause.__cause__ = error
        return self._cursor.interrupted(cause=cause)

    def _after_refusal(self) -> float:
        status = 0 if self._status is None else self._status
        refused = refusal(status, self._headers, bytes(self._refusal_body))
        error = self._refused(refused)
        if not refused.repeated:
            raise error
        return self._cursor.interrupted(at_least=refused.retry_after or 0.0, cause=error)

    def _refused(self, refused: Refusal) -> StreamError:
        """Say it as what it is: a stream that cannot go on now, or a request that was refused."""
        if refused.retryable and self._cursor.cursor is not None:
            return self._cursor.interruption(refused.code, refused.message, status=refused.status)
        error = self._cursor.error(refused.code, refused.message, retryable=refused.retryable)
        error.status = refused.status
        return error


class Call:
    """One request outside a stream, repeated until it is answered.

    Args:
        max_retries: Failures that are retried; at most 3 of them.
        backoff: When to try again.

    Attributes:
        body: The answer, once there is one.
    """

    def __init__(self, max_retries: int, backoff: Backoff | None = None) -> None:
        self.body = b""
        self._retries = min(max_retries, _CALL_RETRIES)
        self._backoff = backoff or Backoff()
        self._error: StreamError | None = None
        self._at_least = 0.0
        self._repeated = False

    def pauses(self) -> Iterator[float]:
        """Yield how long to wait before each try, in s, until one is answered.

        Raises:
            StreamError: The server refuses, or cannot be reached.
        """
        pause = 0.0
        while True:
            yield pause
            if self._error is None:
                return
            if not self._repeated or self._backoff.failures >= self._retries:
                raise self._error
            pause = self._backoff.next(self._at_least)

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Take the response."""
        if _OK <= status < 300:
            self._error, self.body = None, body
            return
        refused = refusal(status, headers, body)
        self._error, self._repeated = refused.error(), refused.repeated
        self._at_least = refused.retry_after or 0.0

    def lost(self, error: Exception) -> None:
        """Take the failure of a try."""
        self._error = StreamInterrupted("unreachable", _describe(error), retryable=True)
        self._error.__cause__ = error
        self._at_least, self._repeated = 0.0, is_repeated(error)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

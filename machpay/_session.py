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
    yield from session.withdrawal()
"""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from machpay._answers import read_started
from machpay._call import describe
from machpay._endings import CANCELLED
from machpay._options import Options
from machpay._requests import (
    Refusal,
    Request,
    background_request,
    cancel_request,
    checked_cursor,
    checked_execution_id,
    is_repeated,
    refusal,
    resume_request,
    start_request,
)
from machpay._results import Result
from machpay._stream_cursor import StreamCursor
from machpay.events import ChunkEvent, ErrorEvent, Event
from machpay.exceptions import StreamError

_LONGEST_REFUSAL: Final = 64 << 10
"""How much of an error's body is read, in bytes: it may be anything, and of any length."""

_OK: Final = 200
_NO_CONTENT: Final = 204


class StreamSession:
    """One stream over as many connections as it takes.

    Args:
        start: The request that starts it; ``None`` to read an execution that exists. It is made
            again, as it is, until the first event comes: under the same ``Idempotency-Key``, or
            chosen id, that is one start.
        cursor: Where the reader stands.

    Attributes:
        cursor: Where the reader stands.
        resumes: How many connections had to take over from another one.
        closed: Whether the reader gave the stream up.
    """

    def __init__(self, start: Request | None, cursor: StreamCursor) -> None:
        self.cursor = cursor
        self.resumes: int = 0
        self.closed = False
        self._start = start
        self._connected = False
        self._current: Connection | None = None
        # Of `_sent` and `_withdrawn` one at most is ever true, whatever other threads do.
        self._lock = threading.Lock()
        self._sent = False
        self._withdrawn = False

    @classmethod
    def starting(
        cls,
        skill_id: str,
        input: Mapping[str, Any],
        max_retries: int,
        *,
        idempotency_key: str | None,
        execution_id: str | None,
        options: Options,
    ) -> "StreamSession":
        """Make the session of an execution that the first connection starts.

        Raises:
            TypeError: As :func:`machpay._requests.start_request`.
            ValueError: As there.
        """
        start = start_request(
            skill_id,
            input,
            idempotency_key=idempotency_key,
            execution_id=execution_id,
            options=options,
        )
        return cls(start, StreamCursor(execution_id, max_retries=max_retries))

    @classmethod
    def reading(cls, execution_id: str, cursor: str | None, max_retries: int) -> "StreamSession":
        """Make the session of an execution that exists.

        Raises:
            ValueError: It is not an execution id, or not a cursor of that execution.
        """
        after = checked_cursor(checked_execution_id(execution_id), cursor)
        return cls(None, StreamCursor(execution_id, after, max_retries=max_retries))

    def connections(self) -> Iterator["Connection"]:
        """Yield a connection to make, until the stream is finished, closed or withdrawn.

        Raises:
            StreamError: The server refuses, or the stream cannot be resumed.
            RuntimeError: The stream was closed before.
        """
        if self.closed:
            raise RuntimeError("the stream is closed")
        pause = 0.0
        while not self.is_over():
            with self._lock:
                if self._withdrawn:
                    return
                sent, self._sent = self._sent, True
            connection = self._current = Connection(self, self._request(), pause)
            yield connection
            if not self.is_over():
                if connection.refused:
                    # What was refused does not run; what was sent before it may.
                    self._sent = sent
                pause = connection.ended()

    def withdrawal(self) -> Iterator[Event]:
        """Yield how a stream ends that was cancelled before any start of it could be accepted."""
        if self._withdrawn and not self.is_over():
            self.cursor.finish()
            yield CANCELLED

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

    def cancel(self) -> Iterator[Request]:
        """Yield the requests that stop the execution; give each answer to :meth:`answered`.

        There are none when nothing was sent yet, and the server is to choose the id: then nothing
        ever will be. When a start is on its way, or was lost, what it starts has no name here yet:
        the same start again, in the background, tells it.
        """
        with self._lock:
            if self.cursor.execution_id is None and not self._sent:
                self._withdrawn = True
                return
        if self.cursor.execution_id is None and self._start is not None:
            yield background_request(self._start)
        if self.cursor.execution_id is not None:
            yield cancel_request(self.cursor.execution_id)

    def answered(self, body: bytes) -> None:
        """Take the answer to a request of :meth:`cancel`.

        Raises:
            StreamError: ``bad_response``.
        """
        if self.cursor.execution_id is None:
            self.cursor.identify(read_started(body).execution_id)

    def _request(self) -> Request:
        if self._start is not None and self.cursor.cursor is None:
            return self._start
        if self.cursor.execution_id is None:
            raise ValueError("neither a start nor an execution to read")
        return resume_request(self.cursor.execution_id, self.cursor.headers())


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

    @property
    def refused(self) -> bool:
        """Whether the server itself refused the request (a proxy's 5xx is in doubt)."""
        return self._error is None and self._status is not None and 400 <= self._status < 500

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
            raise self._cursor.error("bad_request", describe(error)) from error
        cause = self._cursor.interruption(
            "unreachable" if self._status is None else "interrupted", describe(error)
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
            return self._cursor.interruption(
                refused.code,
                refused.message,
                status=refused.status,
                retry_after=refused.retry_after,
                request_id=refused.request_id,
            )
        error = self._cursor.error(refused.code, refused.message, retryable=refused.retryable)
        error.status = refused.status
        error.retry_after = refused.retry_after
        error.request_id = refused.request_id
        return error

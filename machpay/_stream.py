"""A stream as a thread reads it, and HTTP as :class:`machpay.MachPay` speaks it.

:mod:`machpay._async_stream` is its twin, method by method; what both know is in
:mod:`machpay._session`.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import Self

import httpx

from machpay._call import FAILURES, Call
from machpay._requests import Request
from machpay._results import Result
from machpay._session import StreamSession
from machpay._stream_cursor import Transcript
from machpay.events import ChunkEvent, EndEvent, Event

__all__ = ["Stream"]


class Http:
    """HTTP as this client speaks it."""

    def __init__(self, client: httpx.Client, max_retries: int) -> None:
        self.client = client
        self.max_retries = max_retries
        self.sleep: Callable[[float], None] = time.sleep

    def open(self, request: Request) -> AbstractContextManager[httpx.Response]:
        method, path, headers, content = request
        return self.client.stream(method, path, headers=headers, content=content)

    def call(self, request: Request) -> bytes:
        call = Call(self.max_retries)
        for pause in call.pauses():
            self.sleep(pause)
            try:
                with self.open(request) as response:
                    call.answered(response.status_code, response.headers, response.read())
            except FAILURES as error:
                call.lost(error)
        return call.body


class Stream:
    """The output of an execution as it is produced: iterate over it for its chunks.

    A lost connection is resumed without a gap or a repetition. Leaving the loop closes the
    connection, not the execution; another loop goes on where it was left. (Where references are
    not counted, as on PyPy, use ``with`` to close at once.)

    A skill may begin again after a lost worker (``on_interrupt="restart"``). What a loop over
    chunks has shown cannot be taken back: use :meth:`events`, where a ``StartEvent`` with
    ``attempt > 1`` voids the text before it, or :meth:`text`, which knows.
    """

    def __init__(self, http: Http, session: StreamSession) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._session = session

    @property
    def execution_id(self) -> str | None:
        """The execution's id: at once if it was chosen, else once the first event has come."""
        return self._session.cursor.execution_id

    @property
    def cursor(self) -> str | None:
        """The last event that was taken from the stream: ``executions.stream`` resumes there."""
        return self._session.cursor.cursor

    @property
    def summary(self) -> EndEvent | None:
        """What the execution used and cost, after the last chunk."""
        return self._session.cursor.summary

    @property
    def resumes(self) -> int:
        """How many times another connection had to take over."""
        return self._session.resumes

    def __iter__(self) -> Iterator[ChunkEvent]:
        """Yield the chunks.

        Raises:
            StreamError: The execution failed, the server refuses, or the stream was lost for good.
        """
        with closing(self._events()) as events:
            for event in events:
                chunk = self._session.chunk(event)
                if chunk is not None:
                    yield chunk

    def events(self) -> Iterator[Event]:
        """Yield all events; an ``error`` event too, as the last one, instead of raising.

        Raises:
            StreamError: The server refuses, or the stream was lost for good.
        """
        return self._events()

    def text(self) -> str:
        """Read to the end, and return the text of all that was not read before.

        Text of an attempt that was superseded is left out.

        Raises:
            StreamError: As for the loop over chunks.
        """
        transcript = Transcript()
        with closing(self._events()) as events:
            for event in events:
                self._session.chunk(event)
                transcript.add(event)
        return transcript.text

    def result(self) -> Result:
        """Read to the end, and return the text (as :meth:`text`) with the summary.

        Raises:
            StreamError: As for the loop over chunks.
        """
        return self._session.result(self.text())

    def cancel(self) -> None:
        """Stop the execution, at any time. The stream then ends with an ``error`` event.

        To repeat it is harmless. Before the first event it wins, too: under an id that was chosen
        the server bars the start; a stream that nothing was sent for starts nothing when it is read,
        and ends as ``cancelled``; a start that is on its way is found by its idempotency key.

        Raises:
            StreamError: The server refuses, or cannot be reached.
        """
        for request in self._session.cancel():
            self._session.answered(self._http.call(request))

    def close(self) -> None:
        """Give the stream up: close its connection. The execution goes on."""
        self._session.closed = True
        if self._response is not None:
            self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _events(self) -> Generator[Event, None, None]:
        for connection in self._session.connections():
            self._http.sleep(connection.pause)
            try:
                with self._http.open(connection.request) as self._response:
                    connection.opened(self._response.status_code, self._response.headers)
                    for data in self._response.iter_bytes():
                        yield from connection.feed(data)
                        if connection.done:
                            break
            except FAILURES as error:
                connection.lost(error)
        yield from self._session.withdrawal()

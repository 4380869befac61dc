"""A stream as an event loop reads it, and HTTP as :class:`machpay.AsyncMachPay` speaks it.

:mod:`machpay._stream` is its twin, method by method; what both know is in :mod:`machpay._session`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from types import TracebackType
from typing import Self

import httpx

from machpay._call import FAILURES, Call
from machpay._requests import Request
from machpay._results import Result
from machpay._session import StreamSession
from machpay._stream_cursor import Transcript
from machpay.events import ChunkEvent, EndEvent, Event

__all__ = ["AsyncStream"]


class Http:
    """HTTP as this client speaks it."""

    def __init__(self, client: httpx.AsyncClient, max_retries: int) -> None:
        self.client = client
        self.max_retries = max_retries
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def open(self, request: Request) -> AbstractAsyncContextManager[httpx.Response]:
        method, path, headers, content = request
        return self.client.stream(method, path, headers=headers, content=content)

    async def call(self, request: Request) -> bytes:
        call = Call(self.max_retries)
        for pause in call.pauses():
            await self.sleep(pause)
            try:
                async with self.open(request) as response:
                    call.answered(response.status_code, response.headers, await response.aread())
            except FAILURES as error:
                call.lost(error)
        return call.body


class AsyncStream:
    """The output of an execution as it is produced: iterate over it for its chunks.

    A lost connection is resumed without a gap or a repetition. Leaving the loop closes the
    connection, not the execution; another loop goes on where it was left. (The event
    loop does it a few turns later; ``async with`` does it at once.)

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

    async def __aiter__(self) -> AsyncIterator[ChunkEvent]:
        """Yield the chunks.

        Raises:
            StreamError: The execution failed, the server refuses, or the stream was lost for good.
        """
        async with aclosing(self._events()) as events:
            async for event in events:
                chunk = self._session.chunk(event)
                if chunk is not None:
                    yield chunk

    def events(self) -> AsyncIterator[Event]:
        """Yield all events; an ``error`` event too, as the last one, instead of raising.

        Raises:
            StreamError: The server refuses, or the stream was lost for good.
        """
        return self._events()

    async def text(self) -> str:
        """Read to the end, and return the text of all that was not read before.

        Text of an attempt that was superseded is left out.

        Raises:
            StreamError: As for the loop over chunks.
        """
        transcript = Transcript()
        async with aclosing(self._events()) as events:
            async for event in events:
                self._session.chunk(event)
                transcript.add(event)
        return transcript.text

    async def result(self) -> Result:
        """Read to the end, and return the text (as :meth:`text`) with the summary.

        Raises:
            StreamError: As for the loop over chunks.
        """
        return self._session.result(await self.text())

    async def cancel(self) -> None:
        """Stop the execution, at any time. The stream then ends with an ``error`` event.

        To repeat it is harmless. Before the first event it wins, too: under an id that was chosen
        the server bars the start; a stream that nothing was sent for starts nothing when it is read,
        and ends as ``cancelled``; a start that is on its way is found by its idempotency key.

        Raises:
            StreamError: The server refuses, or cannot be reached.
        """
        for request in self._session.cancel():
            self._session.answered(await self._http.call(request))

    async def close(self) -> None:
        """Give the stream up: close its connection. The execution goes on."""
        self._session.closed = True
        if self._response is not None:
            await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _events(self) -> AsyncGenerator[Event, None]:
        for connection in self._session.connections():
            await self._http.sleep(connection.pause)
            try:
                async with self._http.open(connection.request) as self._response:
                    connection.opened(self._response.status_code, self._response.headers)
                    async for data in self._response.aiter_bytes():
                        for event in connection.feed(data):
                            yield event
                        if connection.done:
                            break
            except FAILURES as error:
                connection.lost(error)
        for event in self._session.withdrawal():
            yield event

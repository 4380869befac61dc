"""``MachPay``: the blocking shell around :mod:`machpay._session`.

:mod:`machpay._async_client` is its twin, method by method; what both know is not here.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import Any, Self

import httpx

from machpay._call import FAILURES, Call
from machpay._config import Config
from machpay._options import Options
from machpay._requests import (
    Request,
    cancel_request,
    execution_request,
    read_execution,
    read_skills,
    skills_request,
)
from machpay._results import Execution, Result, SkillInfo
from machpay._session import StreamSession
from machpay._stream_cursor import Transcript
from machpay.events import ChunkEvent, EndEvent, Event

__all__ = ["Executions", "MachPay", "Skills", "Stream"]


class MachPay:
    """A client. Threads may share it; one :class:`Stream` belongs to one thread at a time.

    ::

        with MachPay() as client:
            for chunk in client.skills.stream("chat-assistant", {"prompt": "Hello"}):
                print(chunk.text, end="", flush=True)

    Args:
        api_key: Else the environment's ``MACHPAY_API_KEY``, else none.
        base_url: Else the environment's ``MACHPAY_BASE_URL``, else ``http://127.0.0.1:8080``.
        timeout: The longest silence of the server before a connection counts as dead and the
            stream is resumed, in s. Not a limit for the stream as a whole.
        max_retries: Failures in a row, without a new event between them, before a stream that has
            begun gives up. At most 3 of them before its first event.
        transport: What carries HTTP requests, in place of the network.

    Attributes:
        skills: Running skills.
        executions: What runs or ran.

    Raises:
        ValueError: A setting is not what it must be.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        config = Config.resolve(
            api_key=api_key, base_url=base_url, timeout=timeout, max_retries=max_retries
        )
        client = httpx.Client(**config.http_options(), transport=transport)
        self._http = _Http(client, config.max_retries)
        self.skills = Skills(self._http)
        self.executions = Executions(self._http)

    def close(self) -> None:
        """Close all connections."""
        self._http.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Skills:
    """Running skills: ``client.skills``."""

    def __init__(self, http: "_Http") -> None:
        self._http = http

    def stream(
        self,
        skill_id: str,
        input: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,
        cancel_after: float | None = None,
    ) -> "Stream":
        """Run a skill and stream its output. Nothing is sent before the stream is read.

        Args:
            skill_id: The skill.
            input: Its input: a JSON object.
            idempotency_key: Two starts with the same key, input and options are one execution.
                Random when left out: then only the client's own repetitions of a lost start are one.
            execution_id: An id of your own, instead of a key: 1 to 64 characters of
                ``[A-Za-z0-9_~-]``, not ``exec_`` at their beginning. It can be cancelled before it
                was started.
            timeout: The longest the execution may run, in s; the skill's own limit holds as well.
            cancel_after: For how long nobody may be reading before the execution is cancelled, in s
                (1 to 86400). When left out, it goes on without a reader.

        Raises:
            TypeError: ``input`` is not a mapping of JSON values.
            ValueError: An argument cannot be what it says, or there are both a key and an id.
        """
        session = StreamSession.starting(
            skill_id,
            input,
            self._http.max_retries,
            idempotency_key=idempotency_key,
            execution_id=execution_id,
            options=Options(timeout=timeout, cancel_after=cancel_after),
        )
        return Stream(self._http, session)

    def run(
        self,
        skill_id: str,
        input: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,
        cancel_after: float | None = None,
    ) -> Result:
        """Run a skill and wait for its whole output.

        Args:
            skill_id: As for :meth:`stream`.
            input: As for :meth:`stream`.
            idempotency_key: As for :meth:`stream`.
            execution_id: As for :meth:`stream`.
            timeout: As for :meth:`stream`.
            cancel_after: As for :meth:`stream`.

        Raises:
            StreamError: It could not be started, it failed, or its stream was lost for good.
            TypeError: As for :meth:`stream`.
            ValueError: As for :meth:`stream`.
        """
        stream = self.stream(
            skill_id,
            input,
            idempotency_key=idempotency_key,
            execution_id=execution_id,
            timeout=timeout,
            cancel_after=cancel_after,
        )
        with stream:
            return stream.result()

    def list(self) -> "list[SkillInfo]":
        """List the skills that can be run.

        Raises:
            StreamError: The server refuses, or cannot be reached.
        """
        return read_skills(self._http.call(skills_request()))


class Executions:
    """What runs or ran: ``client.executions``."""

    def __init__(self, http: "_Http") -> None:
        self._http = http

    def stream(self, execution_id: str, cursor: str | None = None) -> "Stream":
        """Stream the output of an execution that exists, from any process.

        Args:
            execution_id: The execution.
            cursor: The last event that is already known (``stream.cursor``); ``None`` streams
                from the start. After the cursor of the last event, the stream is empty.

        Raises:
            ValueError: An argument cannot be what it says.
        """
        session = StreamSession.reading(execution_id, cursor, self._http.max_retries)
        return Stream(self._http, session)

    def get(self, execution_id: str) -> Execution:
        """Describe an execution: its status, and its text so far with the cursor to go on from.

        Raises:
            StreamError: The server refuses (``status`` 404: there is none, or no longer), or
                cannot be reached.
            ValueError: It is not an execution id.
        """
        return read_execution(self._http.call(execution_request(execution_id)))

    def cancel(self, execution_id: str) -> None:
        """Stop an execution. Its streams end with an ``error`` event; to repeat it is harmless.

        One under an id of your own need not have been started: it will end as it begins.

        Raises:
            StreamError: The server refuses, or cannot be reached.
            ValueError: It is not an execution id.
        """
        self._http.call(cancel_request(execution_id))


class Stream:
    """The output of an execution as it is produced: iterate over it for its chunks.

    A lost connection is resumed without a gap or a repetition. Leaving the loop closes the
    connection, not the execution; another loop goes on where it was left. (Where references are
    not counted, as on PyPy, use ``with`` to close at once.)

    A skill may begin again after a lost worker (``on_interrupt="restart"``). What a loop over
    chunks has shown cannot be taken back: use :meth:`events`, where a ``StartEvent`` with
    ``attempt > 1`` voids the text before it, or :meth:`text`, which knows.
    """

    def __init__(self, http: "_Http", session: StreamSession) -> None:
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


class _Http:
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

"""``AsyncMachPay``: the asyncio shell around :mod:`machpay._session`.

:mod:`machpay._client` is its twin, method by method; what both know is not here.
"""

from collections.abc import Mapping
from datetime import date
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from machpay._answers import (
    read_execution,
    read_skill,
    read_skills,
    read_started,
    read_token,
    read_usage,
)
from machpay._async_stream import AsyncStream, Http
from machpay._config import Config
from machpay._options import Usd, options
from machpay._requests import (
    cancel_request,
    create_request,
    execution_request,
    skill_request,
    skills_request,
    start_request,
    usage_request,
)
from machpay._results import Execution, Result, SkillInfo, Started, StreamToken, UsageReport
from machpay._session import StreamSession
from machpay._tokens import token_request

__all__ = ["AsyncExecutions", "AsyncMachPay", "AsyncSkills", "AsyncTokens"]


class AsyncMachPay:
    """A client. Tasks may share it; one :class:`AsyncStream` belongs to one task at a time.

    ::

        async with AsyncMachPay() as client:
            async for chunk in client.skills.stream("chat-assistant", {"prompt": "Hello"}):
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
        tokens: Stream tokens, for browsers.

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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        config = Config.resolve(
            api_key=api_key, base_url=base_url, timeout=timeout, max_retries=max_retries
        )
        client = httpx.AsyncClient(**config.http_options(), transport=transport)
        self._http = Http(client, config.max_retries)
        self.skills: AsyncSkills = AsyncSkills(self._http)
        self.executions: AsyncExecutions = AsyncExecutions(self._http)
        self.tokens: AsyncTokens = AsyncTokens(self._http)

    async def usage(
        self,
        *,
        start: date | str | None = None,
        end: date | str | None = None,
        skill_id: str | None = None,
        group_by: Literal["day", "skill"] | None = None,
    ) -> UsageReport:
        """Sum what the account used: the ledger of executions that ended.

        Args:
            start: The first day (UTC), a date or ``"2026-11-24"``; else 30 days ago. An execution
                belongs to the day of its start.
            end: The last day, included; else today. At most 366 days in all.
            skill_id: Only this skill; else all of them.
            group_by: Beside the total, a sum for each ``"day"`` or each ``"skill"``.

        Raises:
            StreamError: The server refuses, or cannot be reached.
            ValueError: A day is none, or ``group_by`` is something else.
        """
        request = usage_request(start, end, skill_id, group_by)
        return read_usage(await self._http.call(request))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncSkills:
    """Running skills: ``client.skills``."""

    def __init__(self, http: Http) -> None:
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
        max_cost_usd: Usd | None = None,
    ) -> AsyncStream:
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
            max_cost_usd: It is ended, with ``error budget_exceeded``, before it costs more. A number or
                a decimal string, more than 0.

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
            options=options(timeout, cancel_after, max_cost_usd),
        )
        return AsyncStream(self._http, session)

    async def run(
        self,
        skill_id: str,
        input: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server's limit, not this call's
        cancel_after: float | None = None,
        max_cost_usd: Usd | None = None,
    ) -> Result:
        """Run a skill and wait for its whole output.

        Args:
            skill_id: As for :meth:`stream`.
            input: As for :meth:`stream`.
            idempotency_key: As for :meth:`stream`.
            execution_id: As for :meth:`stream`.
            timeout: As for :meth:`stream`.
            cancel_after: As for :meth:`stream`.
            max_cost_usd: As for :meth:`stream`.

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
            max_cost_usd=max_cost_usd,
        )
        async with stream:
            return await stream.result()

    async def get(self, skill_id: str) -> SkillInfo:
        """Describe a skill.

        Args:
            skill_id: The skill.

        Raises:
            SkillNotFound: There is none.
            StreamError: The server refuses, or cannot be reached.
            ValueError: It cannot be a skill's id.
        """
        return read_skill(await self._http.call(skill_request(skill_id)))

    async def list(self) -> "list[SkillInfo]":
        """List the skills that can be run.

        Raises:
            StreamError: The server refuses, or cannot be reached.
        """
        return read_skills(await self._http.call(skills_request()))


class AsyncExecutions:
    """What runs or ran: ``client.executions``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def stream(self, execution_id: str, cursor: str | None = None) -> AsyncStream:
        """Stream the output of an execution that exists, from any process.

        Args:
            execution_id: The execution.
            cursor: The last event that is already known (``stream.cursor``); ``None`` streams
                from the start. After the cursor of the last event, the stream is empty.

        Raises:
            ValueError: An argument cannot be what it says.
        """
        session = StreamSession.reading(execution_id, cursor, self._http.max_retries)
        return AsyncStream(self._http, session)

    async def get(self, execution_id: str) -> Execution:
        """Describe an execution: its status, and its text so far with the cursor to go on from.

        Args:
            execution_id: The execution.

        Raises:
            ExecutionNotFound: There is none, or no longer.
            StreamError: The server refuses, or cannot be reached.
            ValueError: It is not an execution id.
        """
        return read_execution(await self._http.call(execution_request(execution_id)))

    async def create(
        self,
        skill_id: str,
        input: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        execution_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server's limit, not this call's
        cancel_after: float | None = None,
        max_cost_usd: Usd | None = None,
    ) -> Started:
        """Start an execution in the background: nothing has to read it.

        Args:
            skill_id: As for ``skills.stream``, like the rest.
            input: As there.
            idempotency_key: As there.
            execution_id: As there.
            timeout: As there.
            cancel_after: As there.
            max_cost_usd: As there.

        Raises:
            StreamError: It could not be started.
            TypeError: As there.
            ValueError: As there.
        """
        request = start_request(
            skill_id,
            input,
            idempotency_key=idempotency_key,
            execution_id=execution_id,
            options=options(timeout, cancel_after, max_cost_usd),
        )
        return read_started(await self._http.call(create_request(request)))

    async def cancel(self, execution_id: str) -> None:
        """Stop an execution. Its streams end with an ``error`` event; to repeat it is harmless.

        One under an id of your own need not have been started: it will end as it begins.

        Args:
            execution_id: The execution.

        Raises:
            StreamError: The server refuses, or cannot be reached.
            ValueError: It is not an execution id.
        """
        await self._http.call(cancel_request(execution_id))


class AsyncTokens:
    """Stream tokens, which browsers get instead of an API key: ``client.tokens``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self,
        *,
        execution_id: str | None = None,
        skill_id: str | None = None,
        expires_in: float | None = None,
        max_starts: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server's limit, not this call's
        max_cost_usd: Usd | None = None,
    ) -> StreamToken:
        """Make a token that reads one execution, or that starts one skill.

        Args:
            execution_id: The execution whose status and stream it reads.
            skill_id: Instead: the skill that it starts. What it started it reads and cancels, too.
            expires_in: For how long it reads, or starts, in s (1 to 86400); an hour to read and ten
                minutes to start when left out.
            max_starts: How many executions it starts (1 to 1000). With 1, the default, whatever its
                bearer repeats is the same execution.
            timeout: The longest that each of them may run, in s; the skill's own limit holds as well.
            max_cost_usd: The most that each of them may cost.

        Raises:
            ExecutionNotFound: There is no such execution of this account.
            SkillNotFound: There is no such skill.
            StreamError: The server refuses, or cannot be reached.
            ValueError: There are both ids or none, or an argument cannot be what it says.
        """
        request = token_request(
            execution_id=execution_id,
            skill_id=skill_id,
            expires_in=expires_in,
            max_starts=max_starts,
            timeout=timeout,
            max_cost_usd=max_cost_usd,
        )
        return read_token(await self._http.call(request))

"""Executions run in this process, their logs kept in memory: a skill server.

Streams are resumable while the process lives, and while their log is kept.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Final, Self

from msgspec import structs

from machpay._budget import Budget
from machpay._endings import CANCELLED, INTERNAL
from machpay._output import Piece
from machpay._position import Cursor, Position, is_chosen_id
from machpay._run import Completed, run
from machpay._wire import HEARTBEAT
from machpay.events import EndEvent, ErrorEvent
from machpay.pricing import owed
from machpay.serve.bars import Bars
from machpay.serve.callers import Caller
from machpay.serve.contracts import refusal
from machpay.serve.executions import (
    ApiError,
    ExecutionInfo,
    Place,
    SkillInfo,
    Started,
    StartRequest,
    execution_not_found,
    idempotency_mismatch,
)
from machpay.serve.log import Log
from machpay.serve.turn import Turn
from machpay.skill import Skill, SkillInput

logger: Final = logging.getLogger("machpay.serve")

JOIN_BYTES: Final = 256 << 10
"""About how much a reader is given at once."""

_STOPPED: Final = ErrorEvent(
    code="worker_lost", message="The skill server was shut down.", retryable=True
)
_FULL: Final = ErrorEvent(
    code="overloaded", message="The skill server ran out of memory.", retryable=True
)


class _OutOfMemory(Exception):
    """All logs together are over the limit, and no finished one is left to forget."""


class MemoryExecutions:
    """Runs executions in this process; use it as ``async with`` in a lifespan.

    Implements :class:`machpay.serve.executions.Executions`.

    Args:
        skills: What can be run; each has a handler.
        max_running: Executions that may run at the same time; more are refused.
        max_kept: Finished executions that are kept, for readers that come back.
        max_bytes: Memory for all logs together, roughly; the oldest finished ones go first.
        retention: How long a finished execution is kept, in s.
        heartbeat: After how much silence a reader gets a heartbeat, in s.

    Raises:
        ValueError: A skill has no handler, or two have the same id.
    """

    def __init__(
        self,
        skills: Iterable[Skill],
        *,
        max_running: int = 100,
        max_kept: int = 1000,
        max_bytes: int = 512 << 20,
        retention: float = 600.0,
        heartbeat: float = 15.0,
    ) -> None:
        self._skills: dict[str, Skill] = {}
        for skill in skills:
            _ = skill.handler
            if skill.id in self._skills:
                raise ValueError(f"two skills have the id {skill.id!r}")
            self._skills[skill.id] = skill
        self._max_running = max_running
        self._max_kept = max_kept
        self._max_bytes = max_bytes
        self._retention = retention
        self._heartbeat = heartbeat
        self._running: dict[str, Log] = {}
        self._finished: OrderedDict[str, Log] = OrderedDict()
        self._size = 0
        self._tasks: dict[str, asyncio.Task[EndEvent | ErrorEvent]] = {}
        self._bars = Bars()
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        await self._group.__aexit__(kind, error, traceback)

    def stop(self) -> None:
        """End all running executions with an ``error``: nobody could resume them elsewhere."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()

    async def skills(self) -> list[SkillInfo]:
        """List the skills, by id."""
        return [SkillInfo.of(self._skills[skill_id]) for skill_id in sorted(self._skills)]

    async def skill(self, skill_id: str) -> SkillInfo | None:
        """Find a skill."""
        skill = self._skills.get(skill_id)
        return None if skill is None else SkillInfo.of(skill)

    async def start(self, request: StartRequest) -> Started:
        """Start an execution; it goes on when its client leaves, unless it asked for the contrary.

        Raises:
            ApiError: 503 ``overloaded``, too many are running, or ``draining``; 422
                ``invalid_input`` or ``idempotency_mismatch``; 404 ``execution_not_found``, the id is another account's.
        """
        if self._stopping:
            raise ApiError(503, "draining", "This server is shutting down.", retry_after=1)
        execution_id, fingerprint = request.execution_id(), request.fingerprint()
        known = self._known(execution_id)
        if known is not None:
            if known.account != request.account:
                raise execution_not_found()
            if known.fingerprint != fingerprint:
                raise idempotency_mismatch()
            return Started(execution_id, replayed=True)
        refused = refusal(request)
        if refused is not None:
            raise refused
        barred = self._bars.has(execution_id, request.account)
        if len(self._running) >= self._max_running and not barred:
            message = f"This server runs {self._max_running} executions already."
            raise ApiError(503, "overloaded", message, retry_after=1)
        log = Log(execution_id, request.skill.id, request.account, fingerprint)
        self._running[execution_id] = log
        if barred:
            self._end(log, CANCELLED)
        else:
            self._run(log, request)
        return Started(execution_id)

    def _run(self, log: Log, request: StartRequest) -> None:
        skill, options = self._skills[request.skill.id], request.options
        log.began = monotonic()
        log.own_timeout = options.limit(skill.timeout) < skill.timeout
        if options.max_cost_usd is not None:
            log.budget = Budget(skill.pricing, options.max_cost_usd, log.began)
        input = SkillInput(request.input, execution_id=log.execution_id)
        task = self._group.create_task(
            self._execute(log, skill, input, options.limit(skill.timeout)),
            name=f"execution {log.execution_id}",
        )
        self._tasks[log.execution_id] = task
        task.add_done_callback(partial(self._finish, log))
        if options.cancel_after is not None:
            log.presence.require(options.cancel_after, partial(self._cancel, log))

    async def cancel(self, execution_id: str, caller: Caller) -> None:
        """End an execution with ``error cancelled``, unless it has ended; in advance, if need be.

        Raises:
            ApiError: 404 ``execution_not_found``.
        """
        if is_chosen_id(execution_id) and self._known(execution_id) is None:
            self._bars.add(execution_id, caller.account)
            return
        log = self._find(execution_id, caller)
        if log.end is None:
            self._cancel(log)
            while log.end is None:
                await log.wait(self._heartbeat)

    def _cancel(self, log: Log) -> None:
        log.cancelled = True
        self._tasks[log.execution_id].cancel()

    async def locate(self, execution_id: str, caller: Caller, after: Position) -> Place:
        """Find where a reader stands.

        Raises:
            ApiError: 404 ``execution_not_found``.
        """
        log = self._find(execution_id, caller)
        if after > log.top:
            return Place.BEYOND
        if after == log.top and log.end is not None:
            return Place.AFTER_END
        return Place.WITHIN

    async def read(self, execution_id: str, after: Position, turn: Turn) -> AsyncIterator[bytes]:
        """Read frames after a position, live, until the terminal event.

        Yields:
            Frames, several joined, or a heartbeat.
        """
        log = self._running.get(execution_id) or self._finished.get(execution_id)
        if log is None:
            return
        turn.on_come(log.wake)
        index = log.index_after(after)
        with log.presence.reading():
            while not turn.came or index == 0:
                block: list[bytes] = []
                size = 0
                while index < len(log.frames) and size < JOIN_BYTES:
                    block.append(log.frames[index])
                    size += len(log.frames[index])
                    index += 1
                if block:
                    yield b"".join(block)
                elif log.end is not None:
                    return
                elif not await log.wait(self._heartbeat):
                    yield HEARTBEAT

    async def describe(self, execution_id: str, caller: Caller) -> ExecutionInfo:
        """Describe an execution.

        Raises:
            ApiError: 404 ``execution_not_found``.
        """
        log = self._find(execution_id, caller)
        info = ExecutionInfo(
            execution_id=execution_id,
            skill_id=log.skill_id,
            status="running",
            attempt=1,
            text="".join(log.texts),
            cursor=str(Cursor(execution_id, log.top)),
            created_at=log.created_at,
        )
        if isinstance(log.end, EndEvent):
            return structs.replace(
                info,
                status="completed",
                tokens_used=log.end.tokens_used,
                cost_usd=log.end.cost_usd,
                duration_ms=log.end.duration_ms,
            )
        if isinstance(log.end, ErrorEvent):
            pricing = self._skills[log.skill_id].pricing
            return structs.replace(
                info,
                status="cancelled" if log.end is CANCELLED else "failed",
                error={"code": log.end.code, "message": log.end.message},
                tokens_used=log.tokens,
                cost_usd=owed(
                    pricing,
                    log.end.code,
                    chunks=len(log.texts),
                    tokens=log.tokens,
                    milliseconds=log.duration_ms,
                    own_timeout=log.own_timeout,
                    most=log.most,
                )
                or Decimal(0),
                duration_ms=log.duration_ms,
            )
        return info

    def _known(self, execution_id: str) -> Log | None:
        self._forget()
        return self._running.get(execution_id) or self._finished.get(execution_id)

    def _find(self, execution_id: str, caller: Caller) -> Log:
        log = self._known(execution_id)
        if log is None or not caller.sees(log.account):
            raise execution_not_found()
        return log

    async def _execute(
        self, log: Log, skill: Skill, input: SkillInput, limit: float
    ) -> EndEvent | ErrorEvent:
        """Run an execution; never raises, because that would end all others of the group."""

        async def publish(pieces: list[Piece]) -> None:
            for chunk, tokens in pieces:
                self._size += log.append("chunk", chunk)
                log.tokens = tokens
            log.wake()
            self._forget()
            if self._size > self._max_bytes:
                raise _OutOfMemory

        try:
            outcome = await run(skill, input, publish, timeout=limit, budget=log.budget)
        except _OutOfMemory:
            logger.error("execution %s: all logs together are too large", log.execution_id)  # noqa: TRY400 - there is no more to tell
            return _FULL
        except Exception:
            logger.exception("execution %s could not be run", log.execution_id)
            return INTERNAL
        if isinstance(outcome, Completed):
            duration = log.ran_for()
            cost = skill.pricing.cost(tokens=outcome.tokens, milliseconds=duration, most=log.most)
            return EndEvent(tokens_used=outcome.tokens, cost_usd=cost, duration_ms=duration)
        log.tokens = outcome.tokens
        return ErrorEvent(code=outcome.code, message=outcome.message, retryable=outcome.retryable)

    def _finish(self, log: Log, task: "asyncio.Task[EndEvent | ErrorEvent]") -> None:
        """Write the terminal event: a callback, so that a task cancelled unstarted has one too."""
        del self._tasks[log.execution_id]
        if task.cancelled():
            ending: EndEvent | ErrorEvent = CANCELLED if log.cancelled else _STOPPED
        else:
            ending = task.result()
        self._end(log, ending)

    def _end(self, log: Log, ending: EndEvent | ErrorEvent) -> None:
        self._size += log.append("end" if isinstance(ending, EndEvent) else "error", ending)
        log.ended_at = monotonic()
        log.duration_ms = log.ran_for()
        log.presence.release()
        del self._running[log.execution_id]
        self._finished[log.execution_id] = log
        log.wake()
        self._forget()

    def _forget(self) -> None:
        """Forget finished executions, the oldest first, until all limits are kept."""
        expired = monotonic() - self._retention
        while self._finished:
            oldest = next(iter(self._finished.values()))
            if (
                oldest.ended_at > expired
                and len(self._finished) <= self._max_kept
                and self._size <= self._max_bytes
            ):
                return
            self._size -= oldest.size
            del self._finished[oldest.execution_id]

"""Executions as the edge has them: started in Redis, read through the hub."""

import asyncio
import logging
import math
import signal
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from edge.hub import Hub
from edge.limits import Limits, insufficient_credit
from edge.pieces import Pace
from edge.reach import reachable
from edge.readers import Readers
from edge.snapshot import Snapshot
from machpay._endings import CANCELLED, INTERNAL
from machpay._position import ORIGIN, Position, is_chosen_id, is_execution_id
from machpay._wire import encode_payload
from machpay.events import StartEvent
from machpay.serve.callers import Caller
from machpay.serve.contracts import refusal
from machpay.serve.executions import (
    ApiError,
    ExecutionInfo,
    Place,
    SkillInfo,
    Started,
    StartRequest,
    Unavailable,
    execution_not_found,
    idempotency_mismatch,
)
from machpay.serve.offers import is_open
from machpay.serve.request_ids import request_id
from machpay.serve.turn import Turn
from shared.holds import Uncovered
from shared.jobs import Execute, Queue, lifetime
from shared.ledger import Ledger
from shared.log import MOST_BARS, RUNNING_MARGIN, Begun, EventLog, Summary
from shared.overdue import Overdue
from shared.pulse import STARTED, Tally
from shared.refusals import LogError, TooManyBars
from shared.registry import Registry
from shared.terms import Terms

logger: Final = logging.getLogger("machpay.edge")

T = TypeVar("T")

STARTS_WITHIN: Final = 0.2
"""How long the end of the process waits for starts that are on their way, in s: part of the second
that a drain may take beyond its window."""


class RedisExecutions:
    """Implements :class:`machpay.serve.executions.Executions`: any edge, durable.

    Args:
        log: The event logs.
        queue: The queue.
        registry: The live registry.
        hub: This process's hub.
        overdue: Ends what nobody runs any more.
        ledger: The ledger.
        readers: Says who is read, where that matters.
        tally: Counts what is started here.
        limits: What accounts may start; whatever they like when left out.
    """

    def __init__(  # noqa: PLR0913 - the place where all of them meet
        self,
        log: EventLog,
        queue: Queue,
        registry: Registry,
        hub: Hub,
        overdue: Overdue,
        ledger: Ledger,
        readers: Readers,
        *,
        tally: Tally | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._log = log
        self._queue = queue
        self._registry = registry
        self._hub = hub
        self._overdue = overdue
        self._ledger = ledger
        self._readers = readers
        self._tally = tally or Tally()
        self._limits = limits

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what starts and readers rely on, for as long as the context is open."""
        async with asyncio.TaskGroup() as tasks:
            # Starts are owned here: they go on when their request is cancelled.
            self._tasks = tasks
            self._starts = set[asyncio.Task[Started | Exception]]()
            hub = tasks.create_task(self._run_hub(), name="hub")
            readers = tasks.create_task(self._readers.run(), name="readers")
            try:
                yield
            finally:
                hub.cancel()
                readers.cancel()
                await self._end_starts()

    async def _end_starts(self) -> None:
        """Let the starts that are on their way come through, unless Redis hangs."""
        if self._starts:
            await asyncio.wait(self._starts, timeout=STARTS_WITHIN)
        for start in self._starts:
            logger.warning("a start was given up, since Redis did not answer in time")
            start.cancel()

    async def _run_hub(self) -> None:
        try:
            await self._hub.run()
        except Exception:
            # Without its hub an edge serves nobody, and would look well: let it be replaced.
            logger.critical("the hub broke, this edge stops", exc_info=True)
            signal.raise_signal(signal.SIGTERM)

    async def skills(self) -> list[SkillInfo]:
        """List the registry."""
        async with reachable():
            return await self._registry.list()

    async def skill(self, skill_id: str) -> SkillInfo | None:
        """Find a skill."""
        async with reachable():
            return await self._registry.find(skill_id)

    async def start(self, request: StartRequest) -> Started:
        """Begin the log, then queue the job.

        Shielded: a request that is cancelled half way must not leave a log that nobody runs (and
        redis-py 5 leaks the connection of a pipeline that is cancelled).
        """
        refused = refusal(request)
        work = self._begin(request) if refused is None else self._repeat(request, refused)
        begun = self._tasks.create_task(_outcome(work), name="start")
        self._starts.add(begun)
        begun.add_done_callback(self._starts.discard)
        outcome = await asyncio.shield(begun)
        if isinstance(outcome, Exception):
            raise outcome
        if request.options.cancel_after is not None:
            self._readers.expect(outcome.execution_id)
        return outcome

    async def _begin(self, request: StartRequest) -> Started:
        """Start what its account may start; what was started before is let through unseen."""
        execution_id, terms = request.execution_id(), _terms(request)
        if self._limits is None or not (await self._limits.of(request.account)).any:
            return await self._start(execution_id, request, terms)
        if request.named:
            known = await self._replay_known(execution_id, request)
            if known is not None:
                return known
        admitted = await self._limits.admit(execution_id, request, terms)
        try:
            started = await self._start(execution_id, request, admitted.terms)
        except (ApiError, Unavailable) as error:
            # With a name, it can be made again when Redis is back, and goes on with what it holds.
            if not (request.named and isinstance(error, Unavailable)):
                await self._limits.dismiss(request.account, execution_id, admitted)
            raise
        if started.replayed:
            await self._limits.dismiss(request.account, execution_id, admitted)
        return started

    async def _start(self, execution_id: str, request: StartRequest, terms: Terms) -> Started:
        job = _job(execution_id, request, terms)
        start = encode_payload(StartEvent(execution_id=execution_id, skill_id=terms.skill_id))
        if request.streamed:
            self._hub.expect(execution_id)
        begun: Begun | None = None
        try:
            async with reachable():
                begun = await self._log.start(
                    execution_id,
                    start,
                    job.terms,
                    ttl=lifetime(terms) + RUNNING_MARGIN,
                    owner=request.account,
                    barred=encode_payload(CANCELLED),
                )
        except LogError:
            begun = Begun.KNOWN
        finally:
            if begun is not Begun.NEW:
                self._hub.forget(execution_id)
        if begun is Begun.NEW:
            await self._hub.begun(execution_id, start, terms)
        if begun is Begun.KNOWN:
            return await self._replay(execution_id, request)
        self._tally.count(STARTED)
        if begun is Begun.BARRED:
            await self._settle(execution_id)
            return Started(execution_id)
        try:
            await self._queue_job(job, request.account)
        except Exception:
            # With a name of its own it can be started again, and is queued then. Else nobody will
            # run it, as far as we know: whatever its job does, its log has ended.
            if not request.named:
                await self._give_up(execution_id)
            raise
        return Started(execution_id)

    async def _give_up(self, execution_id: str) -> None:
        """End an execution that nobody will run, and write its row; its readers need not wait."""
        with suppress(Unavailable):
            async with reachable():
                await self._log.conclude(execution_id, encode_payload(INTERNAL))
            await self._settle(execution_id)

    async def _queue_job(self, job: Execute, account: str) -> None:
        counted = self._limits is not None and (await self._limits.of(account)).executions > 0
        try:
            async with reachable():
                await self._queue.put(job, counted=counted)
        except Uncovered:
            await self._give_up(job.execution_id)
            message = "The account's credit has gone to other starts, and this one has ended."
            raise insufficient_credit(message) from None

    async def _repeat(self, request: StartRequest, refused: ApiError) -> Started:
        """Answer a start whose input is wrong: if it was made before, it was not wrong then."""
        if not request.named:
            raise refused
        known = await self._replay_known(request.execution_id(), request)
        if known is None:
            raise refused
        return known

    async def _replay_known(self, execution_id: str, request: StartRequest) -> Started | None:
        """Answer a start if it was made before, in one round trip; ``None`` when it was not."""
        try:
            return await self._replay(execution_id, request)
        except ApiError as error:
            if error.code == "execution_not_found":
                return None
            raise

    async def _replay(self, execution_id: str, request: StartRequest) -> Started:
        """Answer a start that was made before, under the same idempotency key or id."""
        summary = await self._summary(execution_id, Caller(account=request.account), ORIGIN)
        if summary.terms.fingerprint != request.fingerprint():
            raise idempotency_mismatch()
        if summary.last.id == b"0-1":
            # Nobody claimed it yet. Should its job never have been queued, it is now.
            job = _job(execution_id, request, summary.terms)
            await self._queue_job(job, request.account)
        elif summary.last.position.attempt == 0:
            await self._settle(execution_id)
        return Started(execution_id, replayed=True)

    async def _settle(self, execution_id: str) -> None:
        """Write the ledger's row of an execution that has ended, as its job would, if it had one."""
        async with reachable():
            await self._ledger.settle(execution_id)

    async def cancel(self, execution_id: str, caller: Caller) -> None:
        """End an execution with ``error cancelled``; whoever runs it is fenced off, and told.

        One that is not there yet, under an id that a client may choose or was just offered, is
        barred: whichever of its start and its end comes first, it ends.
        """
        if await self._bar(execution_id, caller.account):
            return
        await self._summary(execution_id, caller, ORIGIN)
        # Nobody pays for the time in which their execution had no worker.
        running = True
        with suppress(Unavailable):
            async with reachable():
                running = await self._queue.leased(execution_id)
        async with reachable():
            await self._log.conclude(execution_id, encode_payload(CANCELLED), running=running)
        # The log has ended, and says so to its worker at the next append. This is for a handler
        # that has nothing to say; without it, the stop is late but not lost.
        with suppress(Unavailable):
            async with reachable():
                await self._queue.stop(execution_id)
        # Its job may never have been queued, or wait behind many others.
        with suppress(Unavailable):
            await self._settle(execution_id)

    async def _bar(self, execution_id: str, account: str) -> bool:
        """Bar what is not there yet, and could be; tell whether it was."""
        if not (is_chosen_id(execution_id) or is_open(execution_id, time.time())):
            return False
        try:
            async with reachable():
                return await self._log.bar(execution_id, account)
        except TooManyBars as full:
            message = (
                f"The account has cancelled {MOST_BARS} executions lately that were never started."
            )
            retry_after = math.ceil(full.retry_after)
            raise ApiError(429, "too_many_cancels", message, retry_after=retry_after) from None

    async def locate(self, execution_id: str, caller: Caller, after: Position) -> Place:
        """Find where a reader stands."""
        summary = await self._summary(execution_id, caller, after)
        if summary.terms.cancel_after is not None:
            self._readers.expect(execution_id)
        if after == ORIGIN or (summary.found and after != summary.last.position):
            return Place.WITHIN
        if not summary.found:
            return Place.BEYOND
        return Place.AFTER_END if summary.last.terminal else Place.WITHIN

    def read(self, execution_id: str, after: Position, turn: Turn) -> AsyncIterator[bytes]:
        """Read frames."""
        return self._readers.counted(execution_id, self._hub.read(execution_id, after, turn))

    async def describe(self, execution_id: str, caller: Caller) -> ExecutionInfo:
        """Describe an execution, from its whole log."""
        summary = await self._summary(execution_id, caller, ORIGIN)
        async with reachable():
            await self._overdue.end(execution_id, summary)
        snapshot = Snapshot(execution_id, summary.terms)
        position, pace, more = ORIGIN, Pace(), True
        async with reachable():
            while more:
                entries, more = await self._hub.pieces.read(execution_id, position, pace)
                for entry in entries:
                    snapshot.add(entry)
                if entries:
                    position = entries[-1].position
        return snapshot.info()

    async def owner(self, execution_id: str, caller: Caller) -> str:
        """Tell whose an execution is.

        Raises:
            ApiError: 404, as for :meth:`locate`.
        """
        return (await self._summary(execution_id, caller, ORIGIN)).terms.owner

    async def _summary(self, execution_id: str, caller: Caller, at: Position) -> Summary:
        summary = None
        if is_execution_id(execution_id):
            async with reachable():
                summary = await self._log.describe(execution_id, at)
        if summary is None or not caller.sees(summary.terms.owner):
            raise execution_not_found()
        return summary


def _job(execution_id: str, request: StartRequest, terms: Terms) -> Execute:
    return Execute.of(execution_id, request.input, terms, request_id=request_id())


def _terms(request: StartRequest) -> Terms:
    """Write down what is agreed: it holds whatever is deployed meanwhile."""
    skill, options = request.skill, request.options
    return Terms(
        owner=request.account,
        skill_id=skill.id,
        created_at=time.time_ns() // 1_000_000,
        pricing=skill.pricing,
        timeout=options.limit(skill.timeout),
        own_timeout=options.limit(skill.timeout) < skill.timeout,
        queue_timeout=skill.queue_timeout,
        idle_timeout=skill.idle_timeout,
        max_cost=options.max_cost_usd,
        cancel_after=options.cancel_after,
        fingerprint=request.fingerprint(),
    )


async def _outcome(work: Awaitable[T]) -> T | Exception:
    """Hand an exception to the one who waits, not to the task group that owns the task."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - raised again by whoever waits
        return error

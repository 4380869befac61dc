"""One execution: claim, run the handler, publish, settle."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import msgspec
from arq import Retry
from redis.exceptions import RedisError

from machpay._budget import Budget
from machpay._endings import INTERNAL, LOG_LOST
from machpay._run import Interrupted, run
from machpay._wire import encode_payload
from machpay.serve.overview import RunningExecution
from machpay.serve.request_ids import under
from machpay.skill import Skill, SkillInput
from shared.cancellation import cancelled
from shared.jobs import Execute
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.overdue import end_if_unclaimed
from shared.presence import Presence
from shared.pulse import QUEUE_WAIT, Tally
from shared.redis import is_away
from shared.refusals import LogError, Lost
from shared.terms import Terms
from workers.claim import Claim, claim, hand_over
from workers.desertion import end_when_deserted
from workers.leases import Leases
from workers.publisher import Publisher
from workers.remote_skill import RemoteSkill
from workers.replay import Replay
from workers.settle import Settlement, settle

logger: Final = logging.getLogger("machpay.execute")

ELSEWHERE: Final = 1.0
"""When a job for a skill that this worker doesn't have is due again, in s."""

AWAY: Final = 1.0
"""When a job that could not be brought to its end is due again, in s."""

INTERRUPTED: Final = 0.5
"""When a job whose remote server was lost is due again, in s."""

HAND_OVER_WITHIN: Final = 1.0
"""How long a worker that is shut down tries to note that it hands an execution over, in s."""


class Stopped(Exception):
    """The execution was ended from outside: by a cancellation, say."""


class _Run:
    """A job that is being run here.

    Attributes:
        terms: What was agreed, once it is read.
        claim: The attempt, once there is one.
        remote: The skill, if it is another server's.
    """

    def __init__(self) -> None:
        self.terms: Terms | None = None
        self.claim: Claim | None = None
        self.remote: RemoteSkill | None = None
        self._publisher: Publisher | None = None
        self._stopped = False

    def stop(self) -> None:
        """Stop it, whether or not it has begun."""
        self._stopped = True
        if self._publisher is not None:
            self._publisher.abort(Stopped())

    @property
    def written(self) -> int:
        """The seq of its last entry that is known to be in the log."""
        if self._publisher is not None:
            return self._publisher.written
        return 0 if self.claim is None else self.claim.next_seq - 1

    def begin(self, publisher: Publisher) -> None:
        """Take what stops it from now on."""
        self._publisher = publisher
        if self._stopped:
            publisher.abort(Stopped())


class Executor:
    """Runs executions; its :meth:`execute` is the one arq function there is.

    Args:
        log: The event logs.
        ledger: The ledger.
        presence: Who reads what.
        skills: What this worker can run, by id.
        leases: This worker's leases.
        tally: Counts what is measured here.
    """

    def __init__(
        self,
        log: EventLog,
        ledger: Ledger,
        presence: Presence,
        skills: Mapping[str, Skill],
        leases: Leases,
        tally: Tally | None = None,
    ) -> None:
        self._log = log
        self._ledger = ledger
        self._presence = presence
        self._skills = skills
        self._leases = leases
        self._tally = tally or Tally()
        self._running: dict[str, _Run] = {}
        self._shutting_down = False

    async def execute(self, _ctx: dict[Any, Any], **job: Any) -> None:
        """Run one job to its terminal event; returns when there is nothing left to do.

        Raises:
            Retry: Another worker must run it.
            asyncio.CancelledError: The worker shuts down, or lost the lease.
        """
        with under(job.get("request_id")):
            await self._see_to(str(job.get("execution_id")), job)

    async def _see_to(self, execution_id: str, job: Mapping[str, Any]) -> None:
        mine = self._running[execution_id] = _Run()
        try:
            await self._execute(msgspec.convert(job, Execute), mine)
        except Retry:
            if cancelled():
                raise asyncio.CancelledError from None  # the lease is gone, or handed over
            raise
        except asyncio.CancelledError:
            await self._hand_over(mine)
            raise
        except Exception as error:
            if not is_away(error):
                logger.exception("%s: the job broke", execution_id)
                with suppress(RedisError, OSError):
                    await self.give_up(execution_id)
                    if mine.remote is not None:
                        await mine.remote.ended(execution_id)
                    return
            # arq forgets a job that returns or raises, but its stream has no end yet.
            raise Retry(defer=AWAY) from error
        finally:
            if self._running.get(execution_id) is mine:
                del self._running[execution_id]

    def stop(self, execution_id: str) -> None:
        """Stop an execution whose log was ended from outside; nothing happens if it isn't here."""
        if execution_id in self._running:
            self._running[execution_id].stop()

    def shut_down(self) -> None:
        """Note that what is cancelled from now on is handed over: no worker was lost."""
        self._shutting_down = True

    def running(self, most: int) -> list[RunningExecution]:
        """List what runs here, what was taken first in front.

        Args:
            most: How many at most.
        """
        return [
            RunningExecution(
                execution_id=execution_id,
                skill_id=run.terms.skill_id,
                account=run.terms.owner,
                attempt=0 if run.claim is None else run.claim.ordinal,
                created_at=run.terms.created_at,
                worker=self._leases.token,
            )
            for execution_id, run in islice(self._running.items(), most)
            if run.terms is not None
        ]

    async def look(self, execution_id: str) -> None:
        """Stop an execution that is not ours any more, as its log tells.

        For a job that the queue has forgotten: another worker may have finished it.
        """
        mine = self._running.get(execution_id)
        if mine is None or mine.claim is None:
            return
        last = await self._log.last(execution_id)
        if last is None or last.terminal or last.position.attempt != mine.claim.attempt:
            mine.stop()

    async def give_up(self, execution_id: str) -> None:
        """End an execution that nobody can run, whatever state it is in."""
        await self._log.conclude(execution_id, encode_payload(INTERNAL))
        await self._settle(execution_id)

    async def _execute(self, request: Execute, mine: _Run) -> None:
        data, mine.terms = request.decode()
        terms, execution_id = mine.terms, request.execution_id
        if await end_if_unclaimed(self._log, execution_id, terms):
            await self._settle(execution_id)
            return
        skill = self._skills.get(terms.skill_id)
        remote = mine.remote = skill if isinstance(skill, RemoteSkill) else None
        if skill is None or (remote is not None and remote.away):
            logger.warning("%s: no skill %r here", execution_id, terms.skill_id)
            if await self._ledger.settle(execution_id):
                return  # ended meanwhile: by a cancellation, say
            raise Retry(defer=ELSEWHERE)
        policy = None if remote is None else remote.policy
        mine.claim = await claim(self._log, self._leases, execution_id, skill, terms, policy)
        end = None
        if mine.claim is not None:
            if mine.claim.ordinal == 1:
                self._tally.measure(QUEUE_WAIT, time.time() - terms.created_at / 1000)
            end = await self._attempt(skill, data, terms, mine)
        if end is not None:
            await self._ledger.record(Row.of(execution_id, terms, *end.event, end.used))
        else:
            await self._settle(execution_id)
        if remote is not None:
            await remote.ended(execution_id)

    async def _attempt(
        self, skill: Skill, data: dict[str, Any], terms: Terms, mine: _Run
    ) -> Settlement | None:
        """Run an attempt; returns how it ended, or ``None`` when the log is not ours."""
        assert mine.claim is not None  # noqa: S101 - for mypy: the caller claimed
        try:
            return await self._run(skill, data, terms, mine, mine.claim)
        except BaseExceptionGroup as group:
            refused, rest = group.split((LogError, Stopped))
            if refused is None:
                if group.subgroup(Interrupted) is None:
                    raise
                # The attempt counts as lost, and the next one sees what becomes of its output.
                logger.warning("%s: interrupted: %r", mine.claim.execution_id, _leaves(group))
                raise Retry(defer=INTERRUPTED) from group
            # Whatever else went wrong: without the log there is nothing of ours to end.
            execution_id = mine.claim.execution_id
            if rest is not None:
                logger.warning("%s: beside it: %r", execution_id, rest)
            logger.warning(
                "%s: attempt %d stops: %r", execution_id, mine.claim.attempt, _leaves(refused)
            )
            if refused.subgroup(Lost) is not None:
                await self._log.conclude(execution_id, encode_payload(LOG_LOST))
            return None

    async def _run(
        self, skill: Skill, data: dict[str, Any], terms: Terms, mine: _Run, attempt: Claim
    ) -> Settlement:
        began = time.monotonic()
        given = SkillInput(
            data=data,
            execution_id=attempt.execution_id,
            attempt=attempt.ordinal,
            resume=attempt.resume,
        )
        publisher = Publisher(self._log, attempt, began)
        replay = Replay(attempt.replay, publisher.publish)
        mine.begin(publisher)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publisher.run(), name=f"publish {attempt.execution_id}")
            watching = self._watch(tasks, attempt.execution_id, terms, mine)
            outcome = await replay.judge(
                run(
                    skill,
                    given,
                    replay.publish,
                    timeout=terms.timeout,
                    spent=attempt.spent,
                    at_once=publisher.at_once if attempt.replay is None else None,
                    budget=_budget(terms, began),
                    earlier_tokens=attempt.delivered.tokens if attempt.delivered else None,
                )
            )
            elapsed_ms = int((time.monotonic() - began) * 1000)
            # Of a run that did not get so far, what counts is still what clients have.
            end = settle(terms, outcome, elapsed_ms, attempt.delivered if replay.goes_on else None)
            publisher.finish(*end)
            if watching is not None:
                watching.cancel()
        return end

    def _watch(
        self, tasks: asyncio.TaskGroup, execution_id: str, terms: Terms, mine: _Run
    ) -> "asyncio.Task[None] | None":
        """Have an execution stopped when nobody reads it, if that is what was agreed."""
        limit = terms.cancel_after
        if limit is None:
            return None

        async def watch() -> None:
            await end_when_deserted(self._log, self._presence, execution_id, limit)
            mine.stop()

        return tasks.create_task(watch(), name=f"readers of {execution_id}")

    async def _settle(self, execution_id: str) -> None:
        """Write the ledger's row of an execution that somebody has ended.

        A job is only done when its log has ended or is gone. So a fenced attempt leaves the job to
        whoever has it now, and, should that be nobody, to the next claim.

        Raises:
            Retry: The log has not ended.
        """
        if not await self._ledger.settle(execution_id):
            raise Retry(defer=AWAY)

    async def _hand_over(self, mine: _Run) -> None:
        if not self._shutting_down or mine.claim is None:
            return
        error: Exception | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_WITHIN):
                # Not patiently(): this task is cancelled already.
                while True:
                    try:
                        await hand_over(self._log, mine.claim, self._leases.token, mine.written)
                    except (RedisError, OSError) as failure:
                        error = failure
                        await asyncio.sleep(HAND_OVER_WITHIN / 20)
                    else:
                        return
        # Then the attempt counts as lost.
        logger.warning("%s: handed over without a note: %s", mine.claim.execution_id, error)


def _budget(terms: Terms, began: float) -> Budget | None:
    return None if terms.max_cost is None else Budget(terms.pricing, terms.max_cost, began)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves

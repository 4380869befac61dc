"""One execution: claim, run the handler, publish, settle."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from arq import Retry
from redis.exceptions import RedisError

from machpay._endings import INTERNAL, LOG_LOST
from machpay._run import run
from machpay._wire import encode_payload
from machpay.skill import Skill, SkillInput
from shared.jobs import Execute
from shared.log import EventLog, Fenced, LogError, Lost, Moved
from shared.overdue import end_if_overdue
from shared.redis import is_away
from shared.terms import Terms
from workers.claim import Claim, claim
from workers.publisher import Publisher
from workers.settle import settle

logger: Final = logging.getLogger("machpay.execute")

ELSEWHERE: Final = 1.0
"""When a job for a skill that this worker doesn't have is due again, in s."""

AWAY: Final = 1.0
"""When a job that could not be brought to its end is due again, in s."""


class Executor:
    """Runs executions; its :meth:`execute` is the one arq function there is.

    Args:
        log: The event logs.
        skills: What this worker can run, by id.
        worker: The worker's token, for its claims.
    """

    def __init__(self, log: EventLog, skills: Mapping[str, Skill], worker: str) -> None:
        self._log = log
        self._skills = skills
        self._worker = worker

    async def execute(self, _ctx: dict[Any, Any], **job: Any) -> None:
        """Run one job to its terminal event; returns when there is nothing left to do.

        Raises:
            Retry: Another worker must run it.
            asyncio.CancelledError: The worker shuts down, or lost the lease.
        """
        execution_id = str(job.get("execution_id"))
        try:
            await self._execute(msgspec.convert(job, Execute))
        except Retry:
            raise
        except Exception as error:
            if not is_away(error):
                logger.exception("%s: the job broke", execution_id)
                with suppress(RedisError, OSError):
                    await self.give_up(execution_id)
                    return
            # arq forgets a job that returns or raises, but its stream has no end yet.
            raise Retry(defer=AWAY) from error

    async def give_up(self, execution_id: str) -> None:
        """End an execution that nobody can run, whatever state it is in."""
        await self._log.conclude(execution_id, encode_payload(INTERNAL))

    async def _execute(self, request: Execute) -> None:
        data, terms = request.decode()
        skill = self._skills.get(terms.skill_id)
        if skill is None:
            logger.warning("%s: no skill %r here", request.execution_id, terms.skill_id)
            raise Retry(defer=ELSEWHERE)
        if await end_if_overdue(self._log, request.execution_id, terms):
            return
        mine = await claim(self._log, request.execution_id, self._worker, terms.timeout)
        if mine is None:
            return
        try:
            await self._run(skill, data, terms, mine)
        except BaseExceptionGroup as group:
            refused, rest = group.split(LogError)
            if refused is None:
                raise
            # Whatever else went wrong: without the log there is nothing of ours to end.
            if rest is not None:
                logger.warning("%s: beside it: %r", mine.execution_id, rest)
            await self._refused(mine, refused)

    async def _run(self, skill: Skill, data: dict[str, Any], terms: Terms, mine: Claim) -> None:
        began = time.monotonic_ns()
        given = SkillInput(data=data, execution_id=mine.execution_id, attempt=mine.attempt)
        publisher = Publisher(self._log, mine)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publisher.run(), name=f"publish {mine.execution_id}")
            outcome = await run(skill, given, publisher.publish, timeout=terms.timeout)
            elapsed_ms = (time.monotonic_ns() - began) // 1_000_000
            publisher.finish(settle(terms, outcome, elapsed_ms))

    async def _refused(self, mine: Claim, group: BaseExceptionGroup[LogError]) -> None:
        """Stop: the log is not ours any more.

        A job is only done when its log has ended or is gone. So a fenced attempt leaves the job to
        whoever has it now, and, should that be nobody, to the next claim.

        Raises:
            Retry: The log has not ended.
        """
        refusals = _leaves(group)
        logger.warning("%s: attempt %d stops: %r", mine.execution_id, mine.attempt, refusals)
        if any(isinstance(refusal, Lost) for refusal in refusals):
            await self._log.conclude(mine.execution_id, encode_payload(LOG_LOST))
        elif any(isinstance(refusal, Fenced | Moved) for refusal in refusals):
            raise Retry(defer=AWAY)


def _leaves(group: BaseExceptionGroup[LogError]) -> list[LogError]:
    leaves: list[LogError] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves

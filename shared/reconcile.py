"""Reconciliation: whether the ledger says what the logs say, for executions whose logs still exist.

Rows can be missing where nobody was left to write them: of an execution without a job, whose edge died right
behind the end that it wrote, or when Redis lost its last writes in a failover and the logs are elsewhere.

An execution that lost its job before it ended has neither an end nor a row. A reader would end it, once it is
overdue; of one that nobody reads, and nobody runs, that is done here.
"""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Final

import msgspec

from shared.jobs import Queue
from shared.keys import job_key, log_key
from shared.ledger import Ledger, Row, day_of, row_due
from shared.log import EventLog, Summary
from shared.overdue import Overdue, look_in
from shared.redis import Client

LOGS_AT_A_TIME: Final = 200

SETTLED_WITHIN: Final = 5.0
"""How long after its terminal event an execution without a job may have no row yet, in s."""

_log_prefix, _log_suffix = log_key("\0").split("\0")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An execution whose row is not what its log says.

    Attributes:
        due: The row that it should have.
        found: The one that it has, if any.
    """

    due: Row
    found: Row | None


class Reconciled(msgspec.Struct, kw_only=True):
    """What a look at all logs found.

    Attributes:
        executions: How many have ended, and were compared.
        written: How many rows were missing, and were written now.
        overdue: How many should have ended, and nobody runs; written ones were ended, and compared.
        unsettled: How many ended just now: their jobs are there, so a worker writes their rows.
        due_usd: What their terminal events come to.
        found_usd: What their rows come to.
        differences: Where the two differ.
    """

    executions: int = 0
    written: int = 0
    overdue: int = 0
    unsettled: int = 0
    due_usd: Decimal = Decimal(0)
    found_usd: Decimal = Decimal(0)
    differences: list[Difference] = msgspec.field(default_factory=list)


class Reconciliation:
    """Compares the ledger with the logs.

    Args:
        redis: The queue's Redis.
        log_redis: The logs' Redis.
    """

    def __init__(self, redis: Client, log_redis: Client) -> None:
        self._redis = redis
        self._log_redis = log_redis
        self._log = EventLog(log_redis)
        self._ledger = Ledger(redis, self._log)
        self._queue = Queue(redis)
        self._overdue = Overdue(self._log, self._queue, self._ledger)

    async def run(self, day: str | None = None, *, write: bool = False) -> Reconciled:
        """Compare all executions that have ended and whose logs still exist.

        Args:
            day: Only those that were started on this day (UTC), as 2026-11-24.
            write: Write the rows that are missing, and end what is overdue and nobody's. What is there
                is never changed.

        Raises:
            redis.exceptions.RedisError: Redis cannot be reached.
        """
        result = Reconciled()
        absent: list[Row] = []
        async for ids in self._executions():
            looks = (self._due(each, day, result, write=write) for each in ids)
            for row in await asyncio.gather(*looks):
                if row is None:
                    continue
                found = await self._ledger.find(row)
                if found is None:
                    absent.append(row)
                else:
                    _compare(result, row, found)
        await self._look_again(absent, result, write=write)
        return result

    async def _look_again(self, absent: list[Row], result: Reconciled, *, write: bool) -> None:
        """See what became of executions without a row: they may have ended as we looked."""
        deadline = asyncio.get_running_loop().time() + SETTLED_WITHIN
        for row in absent:
            found = await self._ledger.find(row)
            while (
                found is None
                and not await self._redis.exists(job_key(row.execution_id))
                and asyncio.get_running_loop().time() < deadline
            ):
                await asyncio.sleep(SETTLED_WITHIN / 50)
                found = await self._ledger.find(row)
            if found is None and await self._redis.exists(job_key(row.execution_id)):
                result.unsettled += 1
                continue
            if found is None and write and await self._ledger.record(row):
                result.written += 1
                found = row
            if found is not None or await self._log.last(row.execution_id) is not None:
                _compare(result, row, found)

    async def _executions(self) -> AsyncIterator[list[str]]:
        """Find the executions that have logs; each once."""
        cursor, seen = 0, set[str]()
        pattern = f"{_log_prefix}*{_log_suffix}"
        while True:
            cursor, keys = await self._log_redis.scan(cursor, match=pattern, count=LOGS_AT_A_TIME)
            ids = {
                key.decode().removeprefix(_log_prefix).removesuffix(_log_suffix) for key in keys
            } - seen
            seen |= ids
            yield sorted(ids)
            if cursor == 0:
                return

    async def _due(
        self, execution_id: str, day: str | None, result: Reconciled, *, write: bool
    ) -> Row | None:
        """Tell what an execution's row should be; ``None``: it has not ended, or is not asked for."""
        summary = await self._log.describe(execution_id)
        if summary is None or day not in (None, day_of(summary.terms.created_at)):
            return None
        if not summary.last.terminal and await self._lost(execution_id, summary):
            result.overdue += 1
            if write:
                await self._overdue.end(execution_id, summary)
                summary = await self._log.describe(execution_id)
        if summary is None or not summary.last.terminal:
            return None
        return row_due(execution_id, summary)

    async def _lost(self, execution_id: str, summary: Summary) -> bool:
        """Tell whether an execution's limits have passed, and no worker will ever end it."""
        return (
            look_in(summary) <= 0
            and not await self._redis.exists(job_key(execution_id))
            and not await self._queue.leased(execution_id)
        )


def _compare(result: Reconciled, due: Row, found: Row | None) -> None:
    result.executions += 1
    result.due_usd += due.cost_usd
    if found is not None:
        result.found_usd += found.cost_usd
    if found != due:
        result.differences.append(Difference(due=due, found=found))

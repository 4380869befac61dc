"""The end of executions that nobody runs: written by whoever notices first, edge or worker."""

import asyncio
import time
from typing import Final

import msgspec
from redis.exceptions import RedisError

from machpay._endings import IDLE_TIMEOUT, QUEUE_TIMEOUT, TIMEOUT
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import ErrorEvent
from shared.jobs import Queue
from shared.ledger import Ledger
from shared.log import EventLog, Summary
from shared.refusals import LogError
from shared.terms import Terms

SETTLE: Final = 10.0
"""For how long after Redis was away, and half a lease more, nobody is taken for lost, in s: leases
lapsed meanwhile, and their holders renew them first."""

LOOK_AGAIN: Final = 5.0
"""When an execution that is overdue, but still somebody's, is looked at again, in s."""


class _Timed(msgspec.Struct):
    """The time in an entry's payload: internal entries have ``at``, chunks ``timestamp``."""

    at: int | None = None
    timestamp: int | None = None


_timed: Final = msgspec.json.Decoder(_Timed)


def queue_time_left(terms: Terms) -> float:
    """Tell for how long an execution may still wait for its first claim, in s; negative past it.

    By this machine's clock and that of the edge where it was started: keep them in step (NTP).
    """
    return terms.created_at / 1000 + terms.queue_timeout - time.time()


async def end_if_unclaimed(log: EventLog, execution_id: str, terms: Terms) -> bool:
    """End an execution that was not claimed in time.

    Args:
        log: The event logs.
        execution_id: The execution.
        terms: What was agreed at its start.

    Returns:
        Whether it was ended, here and now.
    """
    if queue_time_left(terms) > 0:
        return False
    try:
        # Where the first claim would stand: of the two, the log takes one.
        error = ("error", encode_payload(QUEUE_TIMEOUT))
        await log.append(execution_id, Position(1, 2), [error])
    except LogError:
        return False
    return True


class Overdue:
    """Ends executions whose limits have passed, and that no worker has a lease for.

    A worker ends what it runs by itself, and knows better. This is for when there is none.

    Args:
        log: The event logs.
        queue: The queue, for its leases.
        ledger: The ledger: the job may be lost too, and then no worker settles it.
        lease: How long a worker's lease lasts, in s.
    """

    def __init__(self, log: EventLog, queue: Queue, ledger: Ledger, *, lease: float = 10.0) -> None:
        self._log = log
        self._queue = queue
        self._ledger = ledger
        self._settle = SETTLE + lease / 2
        self._not_before = 0.0
        self._unsettled: set[str] = set()

    def reconnected(self) -> None:
        """Note that Redis was away."""
        self._not_before = asyncio.get_running_loop().time() + self._settle

    async def end(self, execution_id: str, summary: Summary) -> float | None:
        """End an execution if it is overdue.

        Args:
            execution_id: The execution.
            summary: Both ends of its log, as just read.

        Returns:
            When to look again, in s from now; ``None`` when it has ended.
        """
        if summary.last.terminal:
            return await self._settle_if_ours(execution_id)
        left, verdict = _limit(summary)
        if verdict is not QUEUE_TIMEOUT:
            left = max(left, self._not_before - asyncio.get_running_loop().time())
        if left > 0:
            return _look_in(summary, left)
        if verdict is QUEUE_TIMEOUT:
            await end_if_unclaimed(self._log, execution_id, summary.terms)
        elif await self._leased(execution_id):
            return LOOK_AGAIN
        else:
            await self._log.conclude(execution_id, encode_payload(verdict))
        self._unsettled.add(execution_id)
        return await self._settle_if_ours(execution_id)

    async def _leased(self, execution_id: str) -> bool:
        try:
            return await self._queue.leased(execution_id)
        except (RedisError, OSError):
            # The queue's Redis may be away while the logs' is not: its leases lapse just the same.
            self.reconnected()
            raise

    async def _settle_if_ours(self, execution_id: str) -> float | None:
        """Write the ledger's row of what was ended here, until that succeeds."""
        if execution_id not in self._unsettled:
            return None
        if not await self._ledger.settle(execution_id):
            return LOOK_AGAIN
        self._unsettled.discard(execution_id)
        return None


def look_in(summary: Summary) -> float:
    """Tell when an execution may be overdue, in s from now: look at it then, not before."""
    return _look_in(summary, _limit(summary)[0])


def _look_in(summary: Summary, left: float) -> float:
    # What happens meanwhile can bring a nearer limit: a claim, say, after which nothing comes.
    return min(left, summary.terms.idle_timeout)


def _limit(summary: Summary) -> tuple[float, ErrorEvent]:
    """Tell which limit passes next, and in how many s."""
    terms, last, now = summary.terms, summary.last, time.time()
    if last.position.attempt == 0:
        return queue_time_left(terms), QUEUE_TIMEOUT
    deadline = terms.created_at / 1000 + terms.queue_timeout + terms.timeout
    try:
        entry = _timed.decode(last.data)
        at = entry.at or entry.timestamp
    except (msgspec.DecodeError, UnicodeDecodeError):
        at = None
    # A second start has no time of its own, and is as new as its claim: look again later.
    silent_at = (now if at is None else at / 1000) + terms.idle_timeout
    if silent_at < deadline:
        return silent_at - now, IDLE_TIMEOUT
    return deadline - now, TIMEOUT

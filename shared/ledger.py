"""The ledger: one row for each run that ended, written once, whatever dies.

A row is what the log's terminal event says, under the execution's id. Whoever brings a job to its
end writes it before the job is forgotten; a crash between the two is healed by the next who picks
the job, and to write a row again changes nothing.

A name that a client chose can be started anew when its log is gone. That is another run, and has a row of its
own: what a row is known by is the execution's id and when it was started.

In the same step, an execution that gets its row is counted by its outcome and listed among those that ended
lately, for operators: in both it is once, too. So it is in the stream for other systems
(:mod:`shared.feed`).
"""

import logging
import time
from contextlib import suppress
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from machpay._wire import encode_payload
from shared.bill import Used, bill
from shared.keys import (
    BILLING,
    PULSE_PREFIX,
    PULSE_TTL_MS,
    RECENT,
    RECENT_TTL_MS,
    SLOT_MS,
    hold_keys,
    ledger_key,
    summing_key,
    sums_key,
)
from shared.log import EventLog, Summary
from shared.nano import to_nano
from shared.redis import Client, load_script
from shared.terms import Terms

logger: Final = logging.getLogger("machpay.ledger")

OUTCOME: Final = "outcome:"
"""What the pulse's fields of outcomes begin with."""

OTHER: Final = "other_errors"
"""The outcome that codes are counted under when there are too many different ones in a slot."""

MOST_FIELDS: Final = 400
"""How many fields a slot of the pulse may have until that happens."""

RECENT_ROWS: Final = 200
"""How many rows are listed; up to twice as many are kept."""


LATE_MS: Final = 1000
"""For how long it counts that an execution of a compacted day was seen to have its log, in ms."""


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an execution came to.

    Attributes:
        execution_id: The execution.
        owner: The account that pays.
        skill_id: What ran.
        created_at: When it was started, in ms since the epoch.
        outcome: ``completed``, or the code of its ``error`` event.
        tokens_used: Output tokens that are paid for.
        cost_usd: What is paid.
        duration_ms: What is paid for of the time from the claim to the end, in ms.
        prepaid: It is taken from the account's credit; not there when it isn't.
    """

    execution_id: str
    owner: str
    skill_id: str
    created_at: int
    outcome: str
    tokens_used: int = 0
    cost_usd: Decimal = Decimal(0)
    duration_ms: int = 0
    prepaid: bool | UnsetType = UNSET

    @property
    def run(self) -> str:
        """What no other row is known by; no id of an execution has an ``@``."""
        return f"{self.execution_id}@{self.created_at}"

    @property
    def day(self) -> str:
        """The day of its start (UTC), as 2026-11-24: where it is in the ledger."""
        return day_of(self.created_at)

    @classmethod
    def of(cls, execution_id: str, terms: Terms, kind: str, payload: bytes, used: Used) -> "Row":
        """Make the row of an execution from its terminal event.

        Args:
            execution_id: The execution.
            terms: What was agreed at its start.
            kind: ``end`` or ``error``.
            payload: The event's payload.
            used: What was used, as it stands beside the event.

        Raises:
            msgspec.DecodeError: It is no terminal event of ours.
        """
        due = bill(terms, kind, payload, used)
        return cls(
            execution_id=execution_id,
            owner=terms.owner,
            skill_id=terms.skill_id,
            created_at=terms.created_at,
            outcome=due.outcome,
            tokens_used=due.used.tokens if due.pays else 0,
            cost_usd=due.cost_usd,
            duration_ms=due.used.ms if due.pays else 0,
            prepaid=terms.prepaid or UNSET,
        )


def day_of(created_at: int) -> str:
    """Tell in which day of the ledger (UTC) a run is, as 2026-11-24.

    Args:
        created_at: When it was started, in ms since the epoch.
    """
    return time.strftime("%Y-%m-%d", time.gmtime(created_at / 1000))


class Listed(NamedTuple):
    """A row among those that were written lately.

    Attributes:
        at: When it was written, in ms since the epoch, by Redis's clock.
        row: The row.
    """

    at: int
    row: Row


_row: Final = msgspec.json.Decoder(Row)


class Ledger:
    """Writes the ledger: one hash for each account and day of start (UTC), a field per run.

    The field is the execution's id; for a run whose execution has one already, :attr:`Row.run`.

    Args:
        redis: The queue's Redis.
        log: The event logs.
    """

    def __init__(self, redis: Client, log: EventLog) -> None:
        self._redis = redis
        self._log = log
        self._record = load_script(redis, "shared", "ledger.lua")

    async def record(self, row: Row) -> bool:
        """Write a row, unless the run has one.

        Of a day that was compacted, rows are gone: there, the execution's log has to tell that it had
        none. For no row is compacted before its log is gone (:mod:`shared.compaction`), and a worker
        that was frozen for days may still come with one.

        In the same step its hold is given back, and its cost taken from its account's credit.

        Returns:
            False when it had.
        """
        late = 0
        while (answer := await self._write(row, late)) < 0:
            summary = await self._log.describe(row.execution_id)
            if summary is None or summary.terms.created_at != row.created_at:
                logger.warning("%s: its day was compacted, it has no log", row.execution_id)
                return False
            late = -answer + LATE_MS
        return bool(answer)

    async def _write(self, row: Row, late: int) -> int:
        day = row.day
        answer: int = await self._record(
            [
                ledger_key(row.owner, day),
                RECENT,
                BILLING,
                summing_key(row.owner, day),
                sums_key(row.owner, day),
                *hold_keys(row.owner),
            ],
            [
                row.execution_id,
                encode_payload(row),
                OUTCOME + row.outcome,
                OUTCOME + OTHER,
                MOST_FIELDS,
                PULSE_PREFIX,
                SLOT_MS,
                PULSE_TTL_MS,
                RECENT_ROWS,
                RECENT_TTL_MS,
                late,
                (row.prepaid is True and to_nano(row.cost_usd)) or "",
                row.created_at,
            ],
        )
        return answer

    async def find(self, wanted: Row) -> Row | None:
        """Find the row of a run, as it was written; ``None``: it has none, or was compacted.

        Args:
            wanted: What it should be: of the same account, execution and start.
        """
        found: list[bytes | None] = await self._redis.hmget(  # type: ignore[misc] # redis-py's own types
            ledger_key(wanted.owner, wanted.day), [wanted.execution_id, wanted.run]
        )
        rows = [_row.decode(data) for data in found if data is not None]
        return next((row for row in rows if row.created_at == wanted.created_at), None)

    async def recent(self, count: int) -> list[Listed]:
        """List the rows that were written lately, of all accounts, the newest first.

        Args:
            count: How many at most; there are no more than :data:`RECENT_ROWS`.
        """
        found: list[Listed] = []
        entries: list[bytes] = await self._redis.lrange(RECENT, 0, count - 1)  # type: ignore[misc]
        for entry in entries:
            at, _, data = entry.partition(b" ")
            with suppress(msgspec.DecodeError):  # of another release: it hides no others
                found.append(Listed(int(at), _row.decode(data)))
        return found

    async def settle(self, execution_id: str) -> bool:
        """Write the row of an execution that somebody has ended, from its log.

        Returns:
            False when the log has not ended: there is no row yet.
        """
        summary = await self._log.describe(execution_id)
        if summary is None:
            # Nobody can know any more what it came to.
            logger.error("%s: there is no log, so no row in the ledger", execution_id)
            return True
        if not summary.last.terminal:
            return False
        await self.record(row_due(execution_id, summary))
        return True


def row_due(execution_id: str, summary: Summary) -> Row:
    """Make the row of an execution from its log, which has ended.

    Args:
        execution_id: The execution.
        summary: Both ends of the log.

    Raises:
        msgspec.DecodeError: It ends with no event of ours.
    """
    last = summary.last
    used = Used.read(last.extra)
    return Row.of(execution_id, summary.terms, last.type.decode(), last.data, used)

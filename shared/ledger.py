"""The ledger: one row for each execution that ended, written once, whatever dies.

A row is what the log's terminal event says, under the execution's id. Whoever brings a job to its
end writes it before the job is forgotten; a crash between the two is healed by the next who picks
the job, and to write a row again changes nothing.
"""

import logging
import time
from decimal import Decimal
from typing import Final

import msgspec

from machpay._wire import encode_payload
from machpay.events import EndEvent, ErrorEvent
from shared.keys import ledger_key
from shared.log import EventLog
from shared.redis import Client
from shared.terms import Terms

logger: Final = logging.getLogger("machpay.ledger")

_end: Final = msgspec.json.Decoder(EndEvent)
_error: Final = msgspec.json.Decoder(ErrorEvent)

COMPLETED: Final = "completed"


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
        duration_ms: From the claim to the end, in ms.
    """

    execution_id: str
    owner: str
    skill_id: str
    created_at: int
    outcome: str
    tokens_used: int = 0
    cost_usd: Decimal = Decimal(0)
    duration_ms: int = 0

    @classmethod
    def of(cls, execution_id: str, terms: Terms, kind: str, payload: bytes) -> "Row":
        """Make the row of an execution from its terminal event.

        Args:
            execution_id: The execution.
            terms: What was agreed at its start.
            kind: ``end`` or ``error``.
            payload: The event's payload.

        Raises:
            msgspec.DecodeError: It is no terminal event of ours.
        """
        row = cls(
            execution_id=execution_id,
            owner=terms.owner,
            skill_id=terms.skill_id,
            created_at=terms.created_at,
            outcome=COMPLETED,
        )
        if kind != "end":
            return msgspec.structs.replace(row, outcome=_error.decode(payload).code)
        end = _end.decode(payload)
        return msgspec.structs.replace(
            row,
            tokens_used=end.tokens_used,
            cost_usd=end.cost_usd,
            duration_ms=end.duration_ms,
        )


class Ledger:
    """Writes the ledger: one hash for each account and day of start (UTC), a field per execution.

    Args:
        redis: The queue's Redis.
        log: The event logs.
    """

    def __init__(self, redis: Client, log: EventLog) -> None:
        self._redis = redis
        self._log = log

    async def record(self, row: Row) -> bool:
        """Write a row, unless the execution has one.

        Returns:
            False when it had.
        """
        day = time.strftime("%Y-%m-%d", time.gmtime(row.created_at / 1000))
        key = ledger_key(row.owner, day)
        added = await self._redis.hsetnx(key, row.execution_id, encode_payload(row))  # type: ignore[arg-type,misc]
        return bool(added)

    async def settle(self, execution_id: str) -> bool:
        """Write the row of an execution that somebody has ended, from its log.

        Returns:
            False when the log has not ended: there is no row yet.
        """
        summary = await self._log.describe(execution_id)
        if summary is None:
            logger.warning("%s: there is no log, so no row in the ledger", execution_id)
            return True
        if not summary.last.terminal:
            return False
        kind = summary.last.type.decode()
        await self.record(Row.of(execution_id, summary.terms, kind, summary.last.data))
        return True

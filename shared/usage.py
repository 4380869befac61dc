"""What an account used: sums over the ledger, read a piece at a time."""

from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from shared.keys import ledger_key
from shared.ledger import Row
from shared.redis import Client

AT_A_TIME: Final = 500
"""How many rows one command asks for: Redis serves others in between, and so does this process."""

GroupBy = Literal["day", "skill"]

_row: Final = msgspec.json.Decoder(Row)


class Sum(msgspec.Struct, kw_only=True):
    """What a number of executions came to.

    Attributes:
        executions: How many, whatever their end.
        tokens_used: Output tokens that are paid for.
        cost_usd: What is paid.
        duration_ms: From their claims to their ends, in ms.
    """

    executions: int = 0
    tokens_used: int = 0
    cost_usd: Decimal = Decimal(0)
    duration_ms: int = 0

    def add(self, row: Row) -> None:
        """Add an execution."""
        self.executions += 1
        self.tokens_used += row.tokens_used
        self.cost_usd += row.cost_usd
        self.duration_ms += row.duration_ms


class Group(Sum, kw_only=True):
    """The sum over one day or one skill.

    Attributes:
        key: The day as ``2026-11-24``, or the skill's id.
    """

    key: str


class Report(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What ``GET /v1/usage`` answers.

    Attributes:
        start: The first day (UTC) that was asked for.
        end: The last day.
        total: The sum over all of it.
        groups: By day or by skill, ordered by key; empty unless asked for.
    """

    start: date
    end: date
    total: Sum
    groups: list[Group]


class Usage:
    """Sums the ledger.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def report(
        self, owner: str, start: date, end: date, *, skill_id: str | None, group_by: GroupBy | None
    ) -> Report:
        """Sum what an account used. Every row that is there when it begins counts once.

        Args:
            owner: The account.
            start: The first day of its executions' starts (UTC).
            end: The last day.
            skill_id: Only this skill; ``None``: all of them.
            group_by: What to sum for beside the total, if anything.

        Raises:
            redis.exceptions.RedisError: Redis cannot be reached.
        """
        total = Sum()
        groups: dict[str, Group] = {}
        for day in _days(start, end):
            async for row in self._rows(owner, day):
                if skill_id is not None and row.skill_id != skill_id:
                    continue
                total.add(row)
                if group_by is not None:
                    key = day if group_by == "day" else row.skill_id
                    groups.setdefault(key, Group(key=key)).add(row)
        return Report(
            start=start, end=end, total=total, groups=[groups[key] for key in sorted(groups)]
        )

    async def _rows(self, owner: str, day: str) -> AsyncIterator[Row]:
        """Yield the rows of one day, each once.

        HSCAN may return a field twice when the hash grows under it (redis.io, "SCAN guarantees").
        """
        cursor, seen = 0, set[bytes]()
        while True:
            cursor, page = await self._redis.hscan(ledger_key(owner, day), cursor, count=AT_A_TIME)
            for execution_id, data in page.items():
                if execution_id not in seen:
                    seen.add(execution_id)
                    yield _row.decode(data)
            if cursor == 0:
                return


def _days(start: date, end: date) -> Iterator[str]:
    for offset in range((end - start).days + 1):
        yield (start + timedelta(days=offset)).isoformat()

"""What an account used: sums over the ledger, read a piece at a time.

A day of the ledger is its rows, those that are set aside to be compacted, and the sums of those that were
(:mod:`shared.compaction`). Rows move from the first to the second, each in one step, so who reads them in
this order misses none, and knows those that it has seen twice by their fields. Then they are replaced by sums,
all in one step: who finds that the sums have changed meanwhile reads the day again.
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from shared.keys import ledger_key, summing_key, sums_key
from shared.ledger import Row
from shared.redis import Client, load_script

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

    def include(self, other: "Sum") -> None:
        """Add what others came to."""
        self.executions += other.executions
        self.tokens_used += other.tokens_used
        self.cost_usd += other.cost_usd
        self.duration_ms += other.duration_ms


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What the compacted rows of an account's day came to, as it is kept.

    Attributes:
        skills: Skill id -> the sum of its rows.
    """

    skills: dict[str, Sum]


_sums: Final = msgspec.json.Decoder(Sums)


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
        self._begin = load_script(redis, "shared", "day.lua")

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
            for skill, used in (await self.day(owner, day)).items():
                if skill_id is not None and skill != skill_id:
                    continue
                total.include(used)
                if group_by is not None:
                    key = day if group_by == "day" else skill
                    groups.setdefault(key, Group(key=key)).include(used)
        return Report(
            start=start, end=end, total=total, groups=[groups[key] for key in sorted(groups)]
        )

    async def day(self, owner: str, day: str) -> dict[str, Sum]:
        """Sum what an account used on a day, by skill."""
        while True:
            sums, compacting, cursor, page = await self._begin(
                [ledger_key(owner, day), summing_key(owner, day), sums_key(owner, day)],
                [AT_A_TIME],
            )
            found = decode_sums(sums).skills
            seen = _Seen(found)
            seen.add(zip(page[::2], page[1::2], strict=True))
            if cursor == b"0" and not compacting:
                return found
            if cursor != b"0":
                await self._read(ledger_key(owner, day), int(cursor), seen)
            await self._read(summing_key(owner, day), 0, seen)
            if await self._redis.get(sums_key(owner, day)) == sums:
                return found

    async def _read(self, key: str, cursor: int, seen: "_Seen") -> None:
        """Read rows from a cursor on."""
        while True:
            cursor, page = await self._redis.hscan(key, cursor, count=AT_A_TIME)
            seen.add(page.items())
            if cursor == 0:
                return


class _Seen:
    """Adds each row once.

    HSCAN may return a field twice when the hash grows under it (redis.io, "SCAN guarantees").

    Args:
        sums: What they are added to, by skill.
    """

    def __init__(self, sums: dict[str, Sum]) -> None:
        self._sums = sums
        self._fields = set[bytes]()

    def add(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Add rows that were not seen yet.

        Args:
            rows: Fields of the hash, and the row of each.
        """
        for field, data in rows:
            if field in self._fields:
                continue
            self._fields.add(field)
            row = _row.decode(data)
            found = self._sums.get(row.skill_id)
            if found is None:
                found = self._sums[row.skill_id] = Sum()
            found.add(row)


def decode_sums(data: bytes | None) -> Sums:
    """Read the sums of a day; ``None``: nothing was compacted yet.

    Raises:
        msgspec.DecodeError: They are none.
    """
    return Sums(skills={}) if data is None else _sums.decode(data)


def _days(start: date, end: date) -> Iterator[str]:
    for offset in range((end - start).days + 1):
        yield (start + timedelta(days=offset)).isoformat()

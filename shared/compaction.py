"""Compaction: the rows of old days, replaced by their sums.

A row may go once nobody can write it again: its log and its job are gone. It is set aside first, a few at
a time, so that Redis serves others in between; then all that was set aside is replaced by its sums, in one
step. A crash in between leaves rows set aside, where they count as before, and the next run goes on with
them. Whoever reads meanwhile sees each row once (:mod:`shared.usage`), and two who compact the same day at
once hinder each other, no more.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from machpay._wire import encode_payload
from shared.keys import (
    LEDGER_PREFIX,
    SUMMING_PREFIX,
    job_key,
    ledger_key,
    log_key,
    summing_key,
    sums_key,
)
from shared.ledger import Row
from shared.redis import Client, load_script
from shared.usage import AT_A_TIME, Sum, decode_sums

UNTOUCHED_DAYS: Final = 2
"""How old a day must be, in days: its executions have ended, but for the longest."""

SET_ASIDE: Final = 200
"""How many rows one command moves."""

KEYS_AT_A_TIME: Final = 1000

_row: Final = msgspec.json.Decoder(Row)


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an account's day.

    Attributes:
        owner: The account.
        day: The day, as 2026-11-24.
        rows: How many rows were replaced by sums; of a dry run, would have been.
        kept: How many stay, since their logs or jobs are still there.
        total: What the replaced rows came to.
    """

    owner: str
    day: str
    rows: int
    kept: int
    total: Sum


class TooRecentError(ValueError):
    """Days that are not old enough can't be compacted; the message says which can."""


class Compaction:
    """Compacts the ledger.

    Args:
        redis: The queue's Redis.
        log_redis: The logs' Redis.
    """

    def __init__(self, redis: Client, log_redis: Client) -> None:
        self._redis = redis
        self._log_redis = log_redis
        self._set_aside = load_script(redis, "shared", "set_aside.lua")
        self._sum_up = load_script(redis, "shared", "sum_up.lua")

    async def days(self, before: date, owner: str | None = None) -> list[tuple[str, str]]:
        """Find the days that have rows: pairs of an account and a day, in order.

        Args:
            before: The first day that is left alone.
            owner: Only this account; ``None``: all of them.

        Raises:
            TooRecentError: Days that are not two days old would be touched.
            redis.exceptions.RedisError: Redis cannot be reached.
        """
        latest = datetime.now(UTC).date() - timedelta(days=UNTOUCHED_DAYS - 1)
        if before > latest:
            raise TooRecentError(
                f"{before} is too late: only days before {latest} are {UNTOUCHED_DAYS} days old"
            )
        found = set[tuple[str, str]]()
        for prefix in (LEDGER_PREFIX, SUMMING_PREFIX):
            cursor = 0
            while True:
                cursor, keys = await self._redis.scan(
                    cursor, match=f"{prefix}{owner or '*'}:*", count=KEYS_AT_A_TIME
                )
                for key in keys:
                    account, _, day = key.decode().removeprefix(prefix).rpartition(":")
                    # A pattern may match others, too.
                    if day < before.isoformat() and owner in (None, account):
                        found.add((account, day))
                if cursor == 0:
                    break
        return sorted(found)

    async def compact(self, owner: str, day: str, *, dry_run: bool = False) -> Compacted:
        """Replace the rows of an account's day by their sums.

        Args:
            owner: The account.
            day: One of :meth:`days`.
            dry_run: Only tell what would be.

        Raises:
            redis.exceptions.RedisError: Redis cannot be reached.
        """
        gone, kept = await self._sort(owner, day, dry_run=dry_run)
        while True:
            sums_before: bytes | None = await self._redis.get(sums_key(owner, day))
            aside = await self._rows(summing_key(owner, day))
            if dry_run:
                aside.update(gone)
            skills = decode_sums(sums_before).skills
            total = Sum()
            for data in aside.values():
                row = _row.decode(data)
                skills.setdefault(row.skill_id, Sum()).add(row)
                total.add(row)
            done = Compacted(owner=owner, day=day, rows=len(aside), kept=kept, total=total)
            if dry_run or not aside:
                return done
            summed = await self._sum_up(
                [summing_key(owner, day), sums_key(owner, day)],
                [sums_before or b"", encode_payload({"skills": skills}), len(aside)],
            )
            if summed:
                return done

    async def _sort(self, owner: str, day: str, *, dry_run: bool) -> tuple[dict[bytes, bytes], int]:
        """Set aside what may go.

        Returns:
            Of a dry run, the rows that would be; and how many stay.
        """
        gone: dict[bytes, bytes] = {}
        kept = set[bytes]()
        keys = [ledger_key(owner, day), summing_key(owner, day)]
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(keys[0], cursor, count=SET_ASIDE)
            alive = await self._alive(list(page))
            kept.update(alive)
            free = [field for field in page if field not in alive]
            if dry_run:
                gone.update((field, page[field]) for field in free)
            else:
                for start in range(0, len(free), SET_ASIDE):
                    await self._set_aside(keys, free[start : start + SET_ASIDE])
            if cursor == 0:
                return gone, len(kept)

    async def _alive(self, fields: list[bytes]) -> set[bytes]:
        """Tell which rows could still be written, again or late: their executions have a log or a job.

        It may be another run's, of the same name. Then they wait for that, too.
        """
        names = [field.partition(b"@")[0].decode() for field in fields]
        alive = set[bytes]()
        for redis, key in ((self._log_redis, log_key), (self._redis, job_key)):
            # As a rule none of them has, which one command tells.
            if names and await redis.exists(*map(key, names)):
                for field, name in zip(fields, names, strict=True):
                    if await redis.exists(key(name)):
                        alive.add(field)
        return alive

    async def _rows(self, key: str) -> dict[bytes, bytes]:
        rows: dict[bytes, bytes] = {}
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(key, cursor, count=AT_A_TIME)
            rows.update(page)
            if cursor == 0:
                return rows

"""Compaction: old rows become sums, and at no moment does anybody see another amount."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import EndEvent
from shared.compaction import Compaction, TooRecentError
from shared.keys import BILLING, job_key, ledger_key, log_key, summing_key, sums_key
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.redis import Client
from shared.terms import Terms, encode_terms
from shared.usage import Report, Usage

DAY = "2026-03-24"
AT = int(datetime(2026, 3, 24, 12, tzinfo=UTC).timestamp() * 1000)
BEFORE = date(2026, 4, 1)


def row(number: int, skill: str = "words", owner: str = "alice", day: int = 0) -> Row:
    return Row(
        execution_id=f"e{number}",
        owner=owner,
        skill_id=skill,
        created_at=AT + day * 86_400_000,
        outcome="completed",
        tokens_used=number,
        cost_usd=Decimal("0.100000001"),
        duration_ms=10,
    )


@pytest.fixture
def log(redis: Client) -> EventLog:
    return EventLog(redis)


@pytest.fixture
def ledger(redis: Client, log: EventLog) -> Ledger:
    return Ledger(redis, log)


@pytest.fixture
def compaction(redis: Client) -> Compaction:
    return Compaction(redis, redis)


async def report(redis: Client, owner: str = "alice") -> Report:
    day = date.fromisoformat(DAY)
    return await Usage(redis).report(owner, day, day, skill_id=None, group_by="skill")


async def test_sums_say_exactly_what_the_rows_said(
    ledger: Ledger, compaction: Compaction, redis: Client
) -> None:
    for number in range(1, 31):
        await ledger.record(row(number, skill="words" if number % 3 else "story"))
    await ledger.record(row(31, day=10))  # too new
    await ledger.record(row(32, owner="bob"))
    before = await report(redis)
    assert before.total.cost_usd == Decimal("3.00000003")
    assert await compaction.days(BEFORE) == [("alice", DAY), ("bob", DAY)]
    assert await compaction.days(BEFORE, "alice") == [("alice", DAY)]

    would = await compaction.compact("alice", DAY, dry_run=True)
    assert len(await redis.hkeys(ledger_key("alice", DAY))) == 30  # type: ignore[misc]
    done = await compaction.compact("alice", DAY)
    assert would == done
    assert (done.rows, done.kept, done.total) == (30, 0, before.total)
    assert await redis.keys("machpay:*alice:2026-03-*") == [sums_key("alice", DAY).encode()]
    assert await report(redis) == before
    assert await compaction.days(BEFORE) == [("bob", DAY)]
    assert (await compaction.compact("alice", DAY)).rows == 0
    assert await report(redis) == before


async def test_what_may_still_be_settled_stays_and_is_added_later(
    ledger: Ledger, compaction: Compaction, redis: Client, log: EventLog
) -> None:
    for number in (1, 2, 3):
        await ledger.record(row(number))
    await redis.set(log_key("e1"), "a log")
    await redis.set(job_key("e2"), "a job")
    before = await report(redis)
    done = await compaction.compact("alice", DAY)
    assert (done.rows, done.kept) == (1, 2)
    assert await report(redis) == before
    assert not await ledger.record(row(1))  # settled once more, by the next who picks its job
    await redis.delete(log_key("e1"), job_key("e2"))
    assert (await compaction.compact("alice", DAY)).rows == 2
    assert await report(redis) == before


async def test_late_rows_count_once(
    ledger: Ledger, compaction: Compaction, redis: Client, log: EventLog
) -> None:
    await ledger.record(row(1))
    await compaction.compact("alice", DAY)
    # A worker that was frozen since then comes with the row that was compacted.
    assert not await ledger.record(row(1))
    assert (await report(redis)).total.executions == 1
    # And one that ran for as long brings a new one: it has its log.
    terms = Terms(owner="alice", skill_id="words", created_at=AT)
    await log.start("late", b"{}", encode_terms(terms), ttl=1000)
    end = encode_payload(EndEvent(tokens_used=7, cost_usd=Decimal("0.5"), duration_ms=40))
    await log.append("late", Position(1, 2), [("claim", b"{}"), ("end", end)])
    assert await ledger.settle("late")
    assert await ledger.settle("late")
    total = (await report(redis)).total
    assert (total.executions, total.cost_usd) == (2, Decimal("0.600000001"))
    await redis.delete(log_key("late"))
    assert (await compaction.compact("alice", DAY)).rows == 1
    assert (await report(redis)).total == total


async def test_days_that_are_too_recent_are_refused(compaction: Compaction) -> None:
    today = datetime.now(UTC).date()
    await compaction.days(today - timedelta(days=1))
    with pytest.raises(TooRecentError, match="2 days old"):
        await compaction.days(today)


async def put(redis: Client, *numbers: int) -> None:
    """Have rows in the day, however it was compacted: as those who saw their logs would write them."""
    rows = {f"e{number}": encode_payload(row(number)) for number in numbers}
    await redis.hset(ledger_key("alice", DAY), mapping=rows)  # type: ignore[misc]


class Crash(Exception):
    pass


class Interrupted:
    """A client whose process dies in front of its n-th command, or behind it."""

    def __init__(self, redis: Client, left: int, *, behind: bool) -> None:
        self.redis = redis
        self.left = left
        self.behind = behind

    def hook(self, call: Any) -> Any:
        async def counted(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.behind:
                raise Crash
            answer = await call(*args, **more)
            if self.left == 0:
                raise Crash
            return answer

        return counted


async def test_a_crash_anywhere_loses_nothing_and_two_at_once_do_no_harm(
    ledger: Ledger, compaction: Compaction, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.compaction.SET_ASIDE", 4)
    for number in range(1, 10):
        await ledger.record(row(number))
    before = await report(redis)
    crashes = 0
    for behind in (False, True):
        for left in range(1, 200):
            dying = Compaction(redis, redis)
            process = Interrupted(redis, left, behind=behind)
            for name in ("_set_aside", "_sum_up"):
                monkeypatch.setattr(dying, name, process.hook(getattr(dying, name)))
            number = 100 * left + behind
            await put(redis, number)  # so that there always is something to do
            before.total.executions += 1
            before.total.cost_usd += Decimal("0.100000001")
            try:
                await dying.compact("alice", DAY)
            except Crash:
                crashes += 1
                now = (await report(redis)).total
                assert (now.executions, now.cost_usd) == (
                    before.total.executions,
                    before.total.cost_usd,
                )
            else:
                break
    assert crashes >= 4
    await put(redis, *range(50, 80))
    before = await report(redis)
    await asyncio.gather(*(Compaction(redis, redis).compact("alice", DAY) for _ in range(3)))
    assert await report(redis) == before
    assert not await redis.exists(ledger_key("alice", DAY), summing_key("alice", DAY))


async def test_a_reader_in_the_middle_neither_misses_nor_counts_twice(
    valkey_client: Client,
) -> None:
    redis = valkey_client
    await put(redis, *range(1, 2001))
    before = await report(redis)
    compacting = asyncio.ensure_future(Compaction(redis, redis).compact("alice", DAY))
    reports = 0
    while not compacting.done():
        assert await report(redis) == before
        reports += 1
    assert (await compacting).rows == 2000
    assert reports > 2
    assert await report(redis) == before


async def test_new_rows_are_in_the_stream_once_if_there_is_one(
    ledger: Ledger, log: EventLog, redis: Client
) -> None:
    await ledger.record(row(1))
    assert not await redis.exists(BILLING)
    await redis.xgroup_create(BILLING, "invoices", "$", mkstream=True)
    for _ in range(2):
        await ledger.record(row(2))
    ((_, fields),) = await redis.xrange(BILLING)  # raw, as the event log has it
    assert fields[:3] == [b"id", b"e2@%d" % AT, b"row"]
    assert msgspec.json.decode(fields[3], type=Row) == row(2)
    # Whatever else is under the stream's name: it keeps no row from being written.
    await redis.delete(BILLING)
    await redis.set(BILLING, "foreign")
    assert await ledger.record(row(3))
    assert len(await ledger.recent(9)) == 3

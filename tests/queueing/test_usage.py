"""Sums over the ledger: exact, by day and by skill, of one account only."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from shared import usage
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.redis import Client
from shared.usage import Usage

FIRST, LAST = date(2026, 11, 23), date(2026, 11, 25)


def row(number: int, day: int, skill: str, owner: str = "alice", cost: str = "0.001") -> Row:
    started = datetime(2026, 11, day, 23, 59, 59, tzinfo=UTC)
    return Row(
        execution_id=f"e{number}",
        owner=owner,
        skill_id=skill,
        created_at=int(started.timestamp() * 1000),
        outcome="completed",
        tokens_used=number,
        cost_usd=Decimal(cost),
        duration_ms=10,
    )


@pytest.fixture
async def ledger(redis: Client) -> Ledger:
    return Ledger(redis, EventLog(redis))


async def fill(ledger: Ledger, *rows: Row) -> None:
    for one in rows:
        await ledger.record(one)


async def test_it_sums_what_is_asked_for(ledger: Ledger, redis: Client) -> None:
    await fill(
        ledger,
        row(1, 23, "words", cost="0.1"),
        row(2, 24, "words", cost="0.2"),
        row(3, 24, "story"),
        row(4, 26, "words"),  # a day too late
        row(5, 24, "words", owner="bob"),
    )
    report = await Usage(redis).report("alice", FIRST, LAST, skill_id=None, group_by=None)
    assert (report.total.executions, report.total.tokens_used) == (3, 6)
    assert report.total.cost_usd == Decimal("0.301")  # floats would make 0.30100000000000005 of it
    assert report.groups == []

    only = await Usage(redis).report("alice", FIRST, LAST, skill_id="words", group_by="day")
    assert [(group.key, group.executions) for group in only.groups] == [
        ("2026-11-23", 1),
        ("2026-11-24", 1),
    ]
    skills = await Usage(redis).report("alice", FIRST, LAST, skill_id=None, group_by="skill")
    assert [(group.key, group.tokens_used) for group in skills.groups] == [
        ("story", 3),
        ("words", 3),
    ]


async def test_a_large_day_is_read_in_pieces_and_counts_every_row_once(
    ledger: Ledger, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "AT_A_TIME", 10)
    await fill(ledger, *(row(number, 24, "words") for number in range(1, 1201)))
    report = await Usage(redis).report("alice", FIRST, LAST, skill_id=None, group_by="skill")
    assert report.total.executions == 1200
    assert report.total.tokens_used == sum(range(1, 1201))
    assert report.groups[0].executions == 1200

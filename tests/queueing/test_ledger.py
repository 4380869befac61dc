"""The ledger: one row for each execution that ended, whoever writes it and however often."""

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from machpay._endings import CANCELLED
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import EndEvent
from shared.bill import Used
from shared.compaction import Compaction
from shared.credits import Credits
from shared.holds import Account, Holds
from shared.keys import BILLING, ledger_key, log_key, summing_key
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.reconcile import Reconciliation
from shared.redis import Client
from shared.terms import Terms, encode_terms
from shared.usage import Sum, Usage

TERMS = Terms(owner="alice", skill_id="words", created_at=1_795_500_000_000)
KEY = ledger_key("alice", "2026-11-24")
END = encode_payload(EndEvent(tokens_used=7, cost_usd=Decimal("0.0012"), duration_ms=40))


@pytest.fixture
def log(redis: Client) -> EventLog:
    return EventLog(redis)


@pytest.fixture
async def ledger(redis: Client, log: EventLog) -> Ledger:
    await log.start("e", b"{}", encode_terms(TERMS), ttl=1000)
    return Ledger(redis, log)


async def row(redis: Client) -> dict[str, object]:
    ((field, value),) = (await redis.execute_command("HGETALL", KEY)).items()
    assert field == b"e"
    decoded: dict[str, object] = msgspec.json.decode(value)
    return decoded


async def test_a_row_says_what_the_terminal_event_says(
    ledger: Ledger, log: EventLog, redis: Client
) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("end", END)])
    assert await ledger.settle("e")
    assert await row(redis) == {
        "executionId": "e",
        "owner": "alice",
        "skillId": "words",
        "createdAt": TERMS.created_at,
        "outcome": "completed",
        "tokensUsed": 7,
        "costUsd": 0.0012,
        "durationMs": 40,
    }
    assert await redis.ttl(KEY) == -1


async def test_what_did_not_complete_has_a_row_too(
    ledger: Ledger, log: EventLog, redis: Client
) -> None:
    await log.conclude("e", encode_payload(CANCELLED))
    assert await ledger.settle("e")
    found = await row(redis)
    assert (found["outcome"], found["costUsd"]) == ("cancelled", 0)


async def test_a_row_is_written_once(ledger: Ledger, log: EventLog, redis: Client) -> None:
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("end", END)])
    await ledger.settle("e")
    before = await row(redis)
    assert not await ledger.record(Row.of("e", TERMS, "error", encode_payload(CANCELLED), Used()))
    await ledger.settle("e")
    assert await row(redis) == before


async def test_what_has_not_ended_has_no_row(ledger: Ledger, redis: Client) -> None:
    assert not await ledger.settle("e")
    assert not await redis.exists(KEY)


async def test_what_is_gone_is_not_waited_for(ledger: Ledger, redis: Client) -> None:
    assert await ledger.settle("nothing")
    assert not await redis.exists(KEY)


LATER_MS = (0, 7_200_000, 14_400_000, 86_400_000)
"""When each of four runs is started, in ms after the first: the last one on the next day."""


async def test_a_name_that_runs_again_when_its_log_is_gone_is_paid_again(redis: Client) -> None:
    """Clients choose names: with one, nobody gets executions for nothing."""
    log, holds = EventLog(redis), Holds(redis)
    ledger, compaction = Ledger(redis, log), Compaction(redis, redis)
    await Credits(redis).grant("alice", Decimal(1), grant_id="g")
    await redis.xgroup_create(BILLING, "invoices", "$", mkstream=True)
    rows = [
        Row(
            execution_id="e",
            owner="alice",
            skill_id="words",
            created_at=TERMS.created_at + later,
            outcome="completed",
            tokens_used=7,
            cost_usd=Decimal("0.0012"),
            duration_ms=40,
            prepaid=True,
        )
        for later in LATER_MS
    ]
    for number, due in enumerate(rows):
        terms = Terms(owner="alice", skill_id="words", created_at=due.created_at, prepaid=True)
        await holds.place("alice", "e", most=0, wanted=Decimal("0.5"), least=Decimal(0))
        await log.start("e", b"{}", encode_terms(terms), ttl=1000)
        await log.append("e", Position(1, 2), [("claim", b"{}"), ("end", END)])
        assert await ledger.settle("e")
        for row in rows[: number + 1]:  # whoever comes again, with a row that is there
            assert not await ledger.record(row)
        # The rows of runs before it are no differences: there are no logs to compare them with.
        found = await Reconciliation(redis, redis).run()
        assert (found.executions, found.differences, found.found_usd) == (1, [], due.cost_usd)
        spent = (number + 1) * Decimal("0.0012")
        assert await holds.account("alice") == Account(1 - spent, Decimal(0), 0)
        await redis.delete(log_key("e"))

    fed = [
        (fields[1], msgspec.json.decode(fields[3], type=Row)) for _, fields in await entries(redis)
    ]
    assert fed == [(b"e@%d" % row.created_at, row) for row in rows]
    assert [listed.row for listed in await ledger.recent(9)] == rows[::-1]
    assert [await ledger.find(row) for row in rows] == rows
    first, last = date(2026, 11, 24), date(2026, 11, 25)

    async def used() -> list[Sum]:
        report = await Usage(redis).report("alice", first, last, skill_id=None, group_by="day")
        return [report.total, *report.groups]

    before = await used()
    assert [(each.executions, each.cost_usd) for each in before] == [
        (4, Decimal("0.0048")),
        (3, Decimal("0.0036")),
        (1, Decimal("0.0012")),
    ]
    # While rows are on their way into sums, and when they are there.
    await compaction._set_aside([KEY, summing_key("alice", "2026-11-24")], [b"e"])
    assert await used() == before
    assert (await compaction.compact("alice", "2026-11-24")).rows == 3
    assert await used() == before


async def entries(redis: Client) -> list[tuple[bytes, list[bytes]]]:
    """What the billing stream has; raw, as the event log has it."""
    found: list[tuple[bytes, list[bytes]]] = await redis.xrange(BILLING)
    return found


async def test_a_run_whose_namesake_is_set_aside_is_kept_apart(
    ledger: Ledger, log: EventLog, redis: Client
) -> None:
    older = Row(
        execution_id="e", owner="alice", skill_id="words", created_at=1, outcome="completed"
    )
    keys = [ledger_key("alice", older.day), summing_key("alice", older.day)]
    await ledger.record(older)
    await Compaction(redis, redis)._set_aside(keys, [b"e"])
    await redis.delete(log_key("e"))
    terms = Terms(owner="alice", skill_id="words", created_at=2)
    await log.start("e", b"{}", encode_terms(terms), ttl=1000)
    await log.append("e", Position(1, 2), [("claim", b"{}"), ("end", END)])
    for _ in range(2):
        assert await ledger.settle("e")
    assert await ledger.record(older) is False
    day = date(1970, 1, 1)
    report = await Usage(redis).report("alice", day, day, skill_id=None, group_by=None)
    assert report.total.executions == 2
    await redis.delete(log_key("e"))
    assert (await Compaction(redis, redis).compact("alice", older.day)).rows == 2

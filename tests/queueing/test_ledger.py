"""The ledger: one row for each execution that ended, whoever writes it and however often."""

from decimal import Decimal

import msgspec
import pytest

from machpay._endings import CANCELLED
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import EndEvent
from shared.bill import Used
from shared.keys import ledger_key
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.redis import Client
from shared.terms import Terms, encode_terms

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

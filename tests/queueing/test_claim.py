"""The claim: who may write, and what a successor does with what it finds."""

import pytest

from machpay._position import Position
from shared.keys import log_key
from shared.log import EventLog
from shared.redis import Client
from shared.terms import Terms, encode_terms
from workers.claim import MAX_ATTEMPTS, Claim, claim

TERMS = encode_terms(Terms(owner="alice", skill_id="words", created_at=1))


@pytest.fixture
async def log(redis: Client) -> EventLog:
    log = EventLog(redis)
    await log.start("e", b"{}", TERMS, ttl=1000)
    return log


async def kinds(log: EventLog) -> list[str]:
    return [entry.type.decode() for entry in await log.read("e")]


async def test_the_first_claim_is_attempt_one(log: EventLog) -> None:
    assert await claim(log, "e", "w1", 60) == Claim("e", 1, 3)
    assert await kinds(log) == ["start", "claim"]


async def test_an_undelivered_execution_runs_again_silently(log: EventLog) -> None:
    await claim(log, "e", "w1", 60)
    assert await claim(log, "e", "w2", 60) == Claim("e", 2, 4)
    assert await kinds(log) == ["start", "claim", "claim"]


async def test_a_delivered_execution_ends_with_worker_lost(log: EventLog) -> None:
    first = await claim(log, "e", "w1", 60)
    assert first is not None
    await log.append("e", Position(1, first.next_seq), [("chunk", b"{}")])
    assert await claim(log, "e", "w2", 60) is None
    last = await log.last("e")
    assert last is not None
    assert last.type == b"error"
    assert b'"worker_lost"' in last.data
    assert b'"retryable":true' in last.data


async def test_a_handler_that_kills_its_workers_is_given_up(log: EventLog) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        mine = await claim(log, "e", f"w{attempt}", 60)
        assert mine is not None
        assert mine.attempt == attempt
    assert await claim(log, "e", "w4", 60) is None
    assert await kinds(log) == ["start", *["claim"] * MAX_ATTEMPTS, "error"]


@pytest.mark.parametrize("kind", ["end", "error"])
async def test_an_ended_execution_is_not_run_again(log: EventLog, kind: str) -> None:
    await claim(log, "e", "w1", 60)
    await log.append("e", Position(1, 3), [("chunk", b"{}"), (kind, b"{}")])
    assert await claim(log, "e", "w2", 60) is None
    assert await kinds(log) == ["start", "claim", "chunk", kind]


async def test_an_expired_execution_is_not_run(log: EventLog, redis: Client) -> None:
    await redis.delete(log_key("e"))
    assert await claim(log, "e", "w1", 60) is None
    assert not await redis.exists(log_key("e"))


async def test_the_log_outlives_the_executions_deadline(log: EventLog, redis: Client) -> None:
    await claim(log, "e", "w1", 5_000)
    assert await redis.pttl(log_key("e")) > 5_000_000

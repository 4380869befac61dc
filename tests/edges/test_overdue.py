"""What nobody runs any more is ended, by the limit that passed; what somebody runs is left alone."""

import time
from collections.abc import Callable

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import ChunkEvent
from shared.entry import Mark
from shared.jobs import Queue
from shared.keys import QUEUE, lease_key
from shared.ledger import Ledger
from shared.log import EventLog, NewEvent
from shared.overdue import Overdue
from shared.redis import Client
from shared.terms import Terms, encode_terms


def ago(seconds: float) -> int:
    return int((time.time() - seconds) * 1000)


def claimed(seconds: float) -> NewEvent:
    return "claim", encode_payload(Mark("w1", ago(seconds)))


def chunk(seconds: float) -> NewEvent:
    return "chunk", encode_payload(ChunkEvent(text="a", index=0, timestamp=ago(seconds)))


class Case:
    """An execution in some state, and what ends it."""

    def __init__(self, redis: Client) -> None:
        self.redis = redis
        self.log = EventLog(redis)
        self.queue = Queue(redis)
        self.ledger = Ledger(redis, self.log)
        self.overdue = Overdue(self.log, self.queue, self.ledger)

    async def start(self, *events: NewEvent, started: float = 0.0) -> None:
        terms = Terms(
            owner="alice",
            skill_id="words",
            created_at=ago(started),
            timeout=100,
            queue_timeout=20,
            idle_timeout=30,
        )
        await self.log.start("e", b"{}", encode_terms(terms), ttl=1000)
        if events:
            await self.log.append("e", Position(1, 2), list(events))

    async def look(self) -> float | None:
        summary = await self.log.describe("e")
        assert summary is not None
        return await self.overdue.end("e", summary)

    async def ending(self) -> str | None:
        last = await self.log.last("e")
        assert last is not None
        return str(msgspec.json.decode(last.data)["code"]) if last.terminal else None


@pytest.fixture
def case(redis: Client) -> Case:
    return Case(redis)


async def test_a_queued_execution_waits_for_its_queue_timeout(case: Case) -> None:
    await case.start(started=5)
    left = await case.look()
    assert left == pytest.approx(15, abs=1)
    assert await case.ending() is None


async def test_a_queued_execution_that_waited_too_long_ends(case: Case) -> None:
    await case.start(started=21)
    assert await case.look() is None
    assert await case.ending() == "queue_timeout"


@pytest.mark.parametrize(
    ("events", "started", "code"),
    [
        (lambda: [claimed(31)], 32, "idle_timeout"),
        (lambda: [claimed(60), chunk(31)], 61, "idle_timeout"),
        (lambda: [claimed(119), chunk(1)], 121, "timeout"),
    ],
)
async def test_an_execution_that_its_worker_left_ends_by_its_limits(
    case: Case, redis: Client, events: Callable[[], list[NewEvent]], started: float, code: str
) -> None:
    await case.start(*events(), started=started)
    assert await case.look() is None
    assert await case.ending() == code
    (key,) = await redis.keys("machpay:ledger:*")
    assert await redis.execute_command("HLEN", key) == 1


async def test_an_execution_within_its_limits_is_looked_at_again(case: Case) -> None:
    await case.start(claimed(60), chunk(10), started=61)
    assert await case.look() == pytest.approx(20, abs=1)
    assert await case.ending() is None


async def test_an_execution_that_a_worker_has_is_left_to_it(case: Case, redis: Client) -> None:
    await case.start(claimed(200), chunk(90), started=201)
    await redis.set(lease_key("e"), "w1")
    await redis.zadd(QUEUE, {"e": ago(-10)})
    left = await case.look()
    assert left is not None
    assert left > 0
    assert await case.ending() is None


async def test_an_execution_whose_lease_has_lapsed_is_nobodys(case: Case, redis: Client) -> None:
    await case.start(claimed(200), chunk(90), started=201)
    await redis.set(lease_key("e"), "w1")
    await redis.zadd(QUEUE, {"e": ago(1)})
    assert await case.look() is None
    assert await case.ending() == "timeout"


async def test_after_an_outage_holders_renew_before_anybody_is_taken_for_lost(case: Case) -> None:
    await case.start(claimed(200), chunk(90), started=201)
    case.overdue.reconnected()
    left = await case.look()
    assert left is not None
    assert left > 0
    assert await case.ending() is None


async def test_an_ended_execution_is_not_looked_at_again(case: Case) -> None:
    await case.start(claimed(200), ("error", b'{"code":"cancelled","message":""}'), started=201)
    assert await case.look() is None
    assert await case.ending() == "cancelled"


async def test_leases_that_can_not_be_asked_for_lapsed_meanwhile(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue's Redis can be away alone: holders renew first when it is back."""
    await case.start(claimed(200), chunk(90), started=201)

    async def refuse(execution_id: str) -> bool:
        raise RedisConnectionError("refused")

    with monkeypatch.context() as away:
        away.setattr(case.queue, "leased", refuse)
        with pytest.raises(RedisConnectionError):
            await case.look()
    left = await case.look()
    assert left is not None
    assert left > 0
    assert await case.ending() is None


async def test_a_row_that_could_not_be_written_is_written_at_the_next_look(
    case: Case, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.start(claimed(31), started=32)

    async def refuse(execution_id: str) -> bool:
        raise RedisConnectionError("refused")

    with monkeypatch.context() as away:
        away.setattr(case.ledger, "settle", refuse)
        with pytest.raises(RedisConnectionError):
            await case.look()
    assert await case.ending() == "idle_timeout"
    assert await case.look() is None
    (key,) = await redis.keys("machpay:ledger:*")
    assert await redis.execute_command("HLEN", key) == 1

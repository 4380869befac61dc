"""Starts at an edge whose account has limits or credit: what is counted, what is refused, what comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from edge.executions import RedisExecutions
from edge.hub import Hub
from edge.limits import RETRY_EXECUTIONS, Limits
from edge.readers import Readers
from machpay._options import Options
from machpay.pricing import Pricing
from machpay.serve.callers import Caller
from machpay.serve.executions import ApiError, SkillInfo, StartRequest, Unavailable
from ops.valkey import EmbeddedValkey
from shared.credits import Credits
from shared.holds import Holds
from shared.jobs import Queue
from shared.keys import QUEUE, job_key
from shared.ledger import Ledger
from shared.log import EventLog
from shared.presence import Presence
from shared.redis import Client
from shared.registry import Registry
from shared.settings import Settings
from shared.terms import Terms
from tests.edges.wiring import overdue_of

PRICED = SkillInfo(
    id="priced",
    name="Priced",
    pricing=Pricing.of({"base_usd": "0.1", "per_token_usd": "0.01"}),
    max_output_bytes=1000,
)
FLAT = SkillInfo(id="flat", name="Flat", pricing=Pricing.of({"base_usd": "0.1"}))
FREE = SkillInfo(id="free", name="Free")


def start(skill: SkillInfo = FREE, **more: Any) -> StartRequest:
    return msgspec.structs.replace(
        StartRequest(skill=skill, input={"n": 1}, account="alice"), **more
    )


class Edge:
    """An edge without HTTP, with limits."""

    def __init__(self, redis: Client, url: str, settings: Settings) -> None:
        self.redis, self.log, self.queue = redis, EventLog(redis), Queue(redis)
        self.holds = Holds(redis)
        self.ledger = Ledger(redis, self.log)
        overdue = overdue_of(self.log)
        self.executions = RedisExecutions(
            self.log,
            self.queue,
            Registry(redis),
            Hub(self.log, url, overdue),
            overdue,
            self.ledger,
            Readers(Presence(redis)),
            limits=Limits(redis, settings),
        )

    async def start(self, request: StartRequest) -> str:
        return (await self.executions.start(request)).execution_id

    async def refused(self, request: StartRequest) -> ApiError:
        with pytest.raises(ApiError) as raised:
            await self.executions.start(request)
        return raised.value

    async def queued(self) -> int:
        return int(await self.redis.zcard(QUEUE))

    async def terms(self, execution_id: str) -> Terms:
        summary = await self.log.describe(execution_id)
        assert summary is not None
        return summary.terms

    async def cancelled(self, execution_id: str) -> None:
        """Cancel an execution, and settle it as its worker would."""
        await self.executions.cancel(execution_id, Caller(account="alice"))
        assert await self.ledger.settle(execution_id)

    async def stands(self) -> tuple[Any, ...]:
        """What is left, what is reserved, and how many run."""
        return tuple(await self.holds.account("alice"))


Make: TypeAlias = Callable[..., Awaitable[Edge]]


@pytest.fixture
async def make(valkey: EmbeddedValkey, valkey_client: Client) -> AsyncIterator[Make]:
    """Makes an edge with settings, on an empty Redis."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> Edge:
            edge = Edge(valkey_client, valkey.url, Settings(**settings))
            await stack.enter_async_context(edge.executions.running())
            return edge

        yield make


async def test_as_many_run_as_may_at_once(make: Make) -> None:
    edge = await make(account_executions=2)
    first, _ = await edge.start(start()), await edge.start(start())
    refused = await edge.refused(start())
    assert (refused.status, refused.code) == (429, "too_many_executions")
    assert refused.retry_after == RETRY_EXECUTIONS
    assert await edge.queued() == 2
    await edge.start(start(account="bob"))
    await edge.cancelled(first)
    await edge.start(start())


async def test_as_many_start_in_a_minute_as_may(make: Make) -> None:
    edge = await make(starts_per_minute=2)
    await edge.start(start())
    await edge.start(start(idempotency_key="k"))
    for request in (start(), start(chosen_id="mine"), start(idempotency_key="new")):
        refused = await edge.refused(request)
        assert (refused.status, refused.code) == (429, "too_many_starts")
        assert refused.retry_after is not None
        assert 50 < refused.retry_after <= 61
    assert await edge.queued() == 2
    assert (await edge.stands())[2] == 1  # the named one's: what was refused holds nothing
    await edge.start(start(account="bob"))


async def test_an_input_is_as_large_as_it_may_be(make: Make) -> None:
    edge = await make(input_bytes=len(b'{"n":1}'))
    await edge.start(start())
    refused = await edge.refused(start(input={"n": 11}))
    assert (refused.status, refused.code) == (413, "input_too_large")
    assert await edge.queued() == 1


@pytest.mark.parametrize("name", [{"idempotency_key": "k"}, {"chosen_id": "mine"}], ids=str)
async def test_a_repetition_is_neither_counted_nor_refused(make: Make, name: Any) -> None:
    edge = await make(account_executions=1, starts_per_minute=1)
    await Credits(edge.redis).grant("alice", Decimal("0.1"), grant_id="g")
    made = await edge.executions.start(start(FLAT, **name))
    await edge.holds.limit("alice", {"input_bytes": 1})
    edge.executions._limits._known.clear()  # type: ignore[union-attr]
    for _ in range(3):
        again = await edge.executions.start(start(FLAT, **name))
        assert (again.execution_id, again.replayed) == (made.execution_id, True)
    assert (await edge.refused(start(FLAT, **name, input={"n": 2}))).status == 422
    assert await edge.stands() == (0, Decimal("0.1"), 1)
    assert (await edge.refused(start(FLAT))).code == "input_too_large"


async def test_starts_of_one_name_at_once_are_one(make: Make) -> None:
    edge = await make(account_executions=1, starts_per_minute=1)
    await Credits(edge.redis).grant("alice", Decimal("0.15"), grant_id="g")
    made = await asyncio.gather(
        *(edge.executions.start(start(FLAT, idempotency_key="k")) for _ in range(8))
    )
    assert len({one.execution_id for one in made}) == 1
    assert [one.replayed for one in made].count(False) == 1
    assert await edge.stands() == (Decimal("0.05"), Decimal("0.1"), 1)


@pytest.mark.parametrize(
    ("skill", "credit", "most", "reserved"),
    [
        (FREE, "0.5", None, "0"),
        (FLAT, "0.1", None, "0.1"),
        (FLAT, "0.099999999", None, None),
        (PRICED, "20", None, "1.1"),  # MACHPAY_RESERVE_USD on top of the base price
        (PRICED, "0.2", None, "0.2"),
        (PRICED, "0.1", None, None),  # not a single token
        (PRICED, "20", "0.5", "0.5"),
        (PRICED, "20", "15", "10.1"),  # the dearest that it can get
        (PRICED, "0.2", "0.5", None),
        (PRICED, "0.2", "0.2", "0.2"),
    ],
)
async def test_what_is_reserved_is_the_most_it_may_cost(
    make: Make, skill: SkillInfo, credit: str, most: str | None, reserved: str | None
) -> None:
    edge = await make()
    await Credits(edge.redis).grant("alice", Decimal(credit), grant_id="g")
    options = Options(max_cost_usd=None if most is None else Decimal(most))
    if reserved is None:
        refused = await edge.refused(start(skill, options=options))
        assert (refused.status, refused.code) == (402, "insufficient_credit")
        assert credit in refused.message
        assert refused.retry_after is None
        assert await edge.queued() == 0
        assert await edge.stands() == (Decimal(credit), 0, 0)
        return
    execution_id = await edge.start(start(skill, options=options))
    kept = Decimal(reserved)
    assert await edge.stands() == (Decimal(credit) - kept, kept, 1)
    terms = await edge.terms(execution_id)
    assert (terms.prepaid, terms.max_cost) == (True, kept or None)
    await edge.cancelled(execution_id)
    assert await edge.stands() == (Decimal(credit), 0, 0)


async def test_without_limits_and_credit_nothing_is_held_or_counted(make: Make) -> None:
    edge = await make()
    execution_id = await edge.start(start(PRICED))
    assert not (await edge.terms(execution_id)).prepaid
    assert await edge.redis.keys("machpay:account:*") == []
    assert await edge.redis.keys("machpay:starts:*") == []


async def test_a_start_that_was_cancelled_before_it_came_holds_nothing(make: Make) -> None:
    edge = await make(account_executions=1)
    await Credits(edge.redis).grant("alice", Decimal(1), grant_id="g")
    await edge.executions.cancel("mine", Caller(account="alice"))
    await edge.start(start(FLAT, chosen_id="mine"))
    assert await edge.stands() == (1, 0, 0)


async def test_an_execution_of_nobody_gives_back_when_its_time_in_the_queue_is_over(
    make: Make,
) -> None:
    edge = await make()
    await Credits(edge.redis).grant("alice", Decimal(1), grant_id="g")
    skill = msgspec.structs.replace(FLAT, queue_timeout=0.001)
    execution_id = await edge.start(start(skill))
    info = await edge.executions.describe(execution_id, Caller(account="alice"))
    assert info.status == "failed"
    assert await edge.stands() == (1, 0, 0)


async def test_a_start_that_fails_gives_back_what_it_held(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> bool:
        raise RedisConnectionError("refused")

    edge = await make(account_executions=5)
    await Credits(edge.redis).grant("alice", Decimal(1), grant_id="g")
    with monkeypatch.context() as away:
        away.setattr(edge.queue, "put", refuse)
        with pytest.raises(Unavailable):
            await edge.executions.start(start(FLAT))
        assert await edge.stands() == (1, 0, 0)
        with pytest.raises(Unavailable):
            await edge.executions.start(start(FLAT, idempotency_key="k"))
    # One with a name can be made again, and goes on with what it held.
    assert await edge.stands() == (Decimal("0.9"), Decimal("0.1"), 1)
    assert (await edge.executions.start(start(FLAT, idempotency_key="k"))).replayed
    assert await edge.queued() == 1
    with monkeypatch.context() as away:
        away.setattr(edge.log, "start", refuse)
        with pytest.raises(Unavailable):
            await edge.executions.start(start(FLAT))
    assert await edge.stands() == (Decimal("0.9"), Decimal("0.1"), 1)


async def test_a_foreign_name_holds_nothing_for_long(make: Make) -> None:
    edge = await make(account_executions=5)
    await edge.start(start(chosen_id="mine", account="bob"))
    assert (await edge.refused(start(chosen_id="mine"))).status == 404
    assert (await edge.stands())[2] == 0


async def test_a_name_whose_credit_went_elsewhere_is_refused(make: Make) -> None:
    edge = await make()
    await Credits(edge.redis).grant("alice", Decimal("0.1"), grant_id="g")
    execution_id = await edge.start(start(FLAT, chosen_id="mine"))
    # As if the edge had died before it queued the job, and the hold had lapsed.
    await edge.redis.delete(job_key(execution_id))
    await edge.holds.release("alice", execution_id)
    other = await edge.start(start(FLAT))
    assert (await edge.refused(start(FLAT, chosen_id="mine"))).code == "insufficient_credit"
    await edge.cancelled(other)
    assert (await edge.executions.start(start(FLAT, chosen_id="mine"))).replayed
    assert await edge.stands() == (0, Decimal("0.1"), 1)


async def test_limits_of_its_own_come_before_everybodys(make: Make) -> None:
    edge = await make(account_executions=1, input_bytes=1)
    await edge.holds.limit("alice", {"executions": 0, "input_bytes": 0})
    for _ in range(3):
        await edge.start(start())
    assert (await edge.refused(start(account="bob"))).code == "input_too_large"

"""Starts with a name at an edge with limits: however often they are sent, they are one, and count as one."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from machpay._options import Options
from machpay._position import Position
from machpay.serve.callers import Caller
from machpay.serve.executions import ApiError, Started, StartRequest, Unavailable
from shared.credits import Credits
from shared.holds import Placed
from shared.keys import hold_keys, job_key
from tests.limits.starting import FLAT, PRICED, Edge, Make, start

ALICE = Caller(account="alice")


async def refuse(*_: object, **__: object) -> bool:
    raise RedisConnectionError("refused")


async def at_once(edges: list[Edge], request: StartRequest) -> list[Started | str]:
    """Send a start to each of some edges, all at the same moment; tells the codes of refusals."""

    async def send(edge: Edge) -> Started | str:
        try:
            return await edge.executions.start(request)
        except ApiError as error:
            return error.code

    return await asyncio.gather(*map(send, edges))


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
    edge = await make(account_executions=1, starts_per_minute=8)
    await Credits(edge.redis).grant("alice", Decimal("0.15"), grant_id="g")
    made = await at_once([edge] * 8, start(FLAT, idempotency_key="k"))
    started = [one for one in made if isinstance(one, Started)]
    assert len({one.execution_id for one in started}) == 1
    assert [one.replayed for one in started].count(False) == 1
    assert len(started) == 8
    assert await edge.stands() == (Decimal("0.05"), Decimal("0.1"), 1)


async def test_to_send_a_start_many_times_at_once_gets_nobody_past_the_limits(make: Make) -> None:
    limits = {"account_executions": 4, "starts_per_minute": 3}
    edge, other = await make(**limits), await make(**limits)
    await edge.start(start())
    codes = []
    for number in range(10):
        request = start(chosen_id=f"n{number}")
        made = await at_once([edge, other, edge, other], request)
        codes += [one for one in made if isinstance(one, str)]
    assert set(codes) == {"too_many_starts"}
    assert 1 < await edge.queued() <= 3
    assert await edge.stands() == (None, 0, await edge.queued())

    await edge.holds.limit("alice", {"starts_per_minute": 0})
    for one in (edge, other):
        one.executions._limits._known.clear()  # type: ignore[union-attr]
    made = []
    for number in range(10, 20):
        made += await at_once([edge, other, edge, other], start(chosen_id=f"n{number}"))
    assert "too_many_executions" in made
    assert await edge.queued() == 4


async def test_a_start_that_is_refused_takes_no_hold_that_another_relies_on(make: Make) -> None:
    edge = await make(account_executions=5)
    await Credits(edge.redis).grant("alice", Decimal(100), grant_id="g")
    for number in range(10):
        one = start(PRICED, chosen_id=f"n{number}", options=Options(max_cost_usd=Decimal(3)))
        two = msgspec.structs.replace(one, options=Options(max_cost_usd=Decimal("0.5")))
        first, second = await asyncio.gather(at_once([edge], one), at_once([edge], two))
        (started,) = (made for made in first + second if isinstance(made, Started))
        assert "idempotency_mismatch" in first + second
        terms = await edge.terms(started.execution_id)
        assert terms.max_cost is not None
        # What was reserved may be for the other one: never more than its own caller said.
        assert terms.max_cost <= Decimal(3 if isinstance(first[0], Started) else "0.5")
        _, reserved, running = await edge.stands()
        assert reserved >= terms.max_cost
        assert running == 1
        await edge.cancelled(started.execution_id)
    assert await edge.stands() == (100, 0, 0)


@pytest.mark.parametrize(("held", "asked", "agreed"), [("5", "0.5", "0.5"), ("0.5", "5", "0.5")])
async def test_a_hold_that_another_start_left_raises_no_ones_own_limit(
    make: Make, monkeypatch: pytest.MonkeyPatch, held: str, asked: str, agreed: str
) -> None:
    edge = await make()
    await Credits(edge.redis).grant("alice", Decimal(100), grant_id="g")
    first, second = (
        start(PRICED, idempotency_key="k", options=Options(max_cost_usd=Decimal(most)))
        for most in (held, asked)
    )
    with monkeypatch.context() as away:
        away.setattr(edge.log, "start", refuse)
        with pytest.raises(Unavailable):
            await edge.executions.start(first)
    execution_id = await edge.start(second)
    assert (await edge.terms(execution_id)).max_cost == Decimal(agreed)
    await edge.cancelled(execution_id)
    assert await edge.stands() == (100, 0, 0)


async def test_what_was_held_for_nothing_is_reserved_when_it_costs_something(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = await make()
    await Credits(edge.redis).grant("alice", Decimal(1), grant_id="g")
    with monkeypatch.context() as away:
        away.setattr(edge.log, "start", refuse)
        with pytest.raises(Unavailable):
            await edge.executions.start(start(idempotency_key="k"))
    assert await edge.stands() == (1, 0, 1)
    terms = await edge.terms(await edge.start(start(FLAT, idempotency_key="k")))
    assert (terms.prepaid, terms.max_cost) == (True, Decimal("0.1"))
    assert await edge.stands() == (Decimal("0.9"), Decimal("0.1"), 1)


async def test_a_start_that_was_made_and_ended_meanwhile_gives_back_its_own_hold(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, other = await make(account_executions=5), await make(account_executions=5)
    holds = edge.executions._limits._holds  # type: ignore[union-attr]
    place = holds.place

    async def late(account: str, execution_id: str, **more: Any) -> Placed:
        await other.start(start(chosen_id="mine"))
        await other.executions.cancel("mine", ALICE)
        return await place(account, execution_id, **more)

    monkeypatch.setattr(holds, "place", late)
    assert (await edge.executions.start(start(chosen_id="mine"))).replayed
    assert (await edge.stands())[2] == 0


async def test_a_start_that_fails_gives_back_what_it_held(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize("credit", ["1", None])
async def test_a_start_that_is_queued_after_its_hold_has_lapsed_has_one_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, credit: str | None
) -> None:
    edge = await make(account_executions=1)
    if credit is not None:
        await Credits(edge.redis).grant("alice", Decimal(credit), grant_id="g")
    named = start(FLAT, idempotency_key="k")
    with monkeypatch.context() as away:
        away.setattr(edge.queue, "put", refuse)
        with pytest.raises(Unavailable):
            await edge.executions.start(named)
    await edge.redis.zadd(hold_keys("alice")[1], {named.execution_id(): 1})
    assert (await edge.stands())[2] == 0
    assert (await edge.executions.start(named)).replayed
    assert (await edge.stands())[1:] == (Decimal("0.1") if credit else 0, 1)
    assert (await edge.refused(start())).code == "too_many_executions"
    # For as long as it may live.
    lapses = await edge.redis.zscore(hold_keys("alice")[1], named.execution_id())
    seconds, _ = await edge.redis.time()
    assert lapses is not None
    assert lapses / 1000 - seconds > FLAT.timeout


async def test_a_foreign_name_holds_nothing_for_long(make: Make) -> None:
    edge = await make(account_executions=5)
    await edge.start(start(chosen_id="mine", account="bob"))
    assert (await edge.refused(start(chosen_id="mine"))).status == 404
    assert (await edge.stands())[2] == 0


async def test_a_name_whose_credit_went_elsewhere_is_refused_and_has_ended(make: Make) -> None:
    edge = await make()
    await Credits(edge.redis).grant("alice", Decimal("0.1"), grant_id="g")
    execution_id = await edge.start(start(FLAT, chosen_id="mine"))
    # As if the edge had died before it queued the job, and the hold had lapsed.
    await edge.redis.delete(job_key(execution_id))
    await edge.redis.zadd(hold_keys("alice")[1], {execution_id: 1})
    other = await edge.start(start(FLAT))
    assert (await edge.refused(start(FLAT, chosen_id="mine"))).code == "insufficient_credit"
    info = await edge.executions.describe(execution_id, ALICE)
    assert info.error is not None
    assert (info.status, info.error["code"]) == ("failed", "internal")
    (row,) = await edge.ledger.recent(5)
    assert (row.row.execution_id, row.row.outcome, row.row.cost_usd) == (
        "mine",
        "internal",
        Decimal(0),
    )
    await edge.executions.cancel(other, ALICE)
    assert (await edge.executions.start(start(FLAT, chosen_id="mine"))).replayed
    assert await edge.stands() == (Decimal("0.1"), 0, 0)


async def test_what_is_cancelled_has_its_row_at_once_whoever_has_its_job(make: Make) -> None:
    edge = await make(account_executions=2)
    await Credits(edge.redis).grant("alice", Decimal(1), grant_id="g")
    unqueued, waiting = await edge.start(start(FLAT)), await edge.start(start(FLAT))
    await edge.redis.delete(job_key(unqueued))
    await edge.log.append(waiting, Position(1, 2), [("claim", b'{"worker":"w","at":1}')])
    for execution_id in (unqueued, waiting, unqueued):
        await edge.executions.cancel(execution_id, ALICE)
    rows = [(one.row.execution_id, one.row.outcome) for one in await edge.ledger.recent(5)]
    assert rows == [(waiting, "cancelled"), (unqueued, "cancelled")]
    assert await edge.stands() == (1, 0, 0)

"""Starts at an edge whose account has limits or credit: what is counted, what is refused, what comes back."""

from decimal import Decimal

import msgspec
import pytest

from edge.limits import RETRY_EXECUTIONS
from machpay._options import Options
from machpay.serve.callers import Caller
from machpay.serve.executions import SkillInfo
from shared.credits import Credits
from tests.limits.starting import FLAT, FREE, PRICED, Make, start


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
    await edge.start(start(account="bob"))


async def test_an_input_is_as_large_as_it_may_be(make: Make) -> None:
    edge = await make(input_bytes=len(b'{"n":1}'))
    await edge.start(start())
    refused = await edge.refused(start(input={"n": 11}))
    assert (refused.status, refused.code) == (413, "input_too_large")
    assert await edge.queued() == 1


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


async def test_limits_of_its_own_come_before_everybodys(make: Make) -> None:
    edge = await make(account_executions=1, input_bytes=1)
    await edge.holds.limit("alice", {"executions": 0, "input_bytes": 0})
    for _ in range(3):
        await edge.start(start())
    assert (await edge.refused(start(account="bob"))).code == "input_too_large"

"""Holds: what is set aside before an execution runs, and what becomes of it, to the last 1e-9 USD."""

from decimal import Decimal

import pytest
from redis.exceptions import ResponseError

from machpay._endings import CANCELLED
from machpay._wire import encode_payload
from shared.credits import Credits, Ended
from shared.holds import Account, Holds, Placed, Poor, Standing, TooMany, Uncovered
from shared.jobs import Execute, Queue
from shared.keys import hold_keys
from shared.ledger import Ledger, Row
from shared.log import EventLog
from shared.nano import to_nano, to_usd
from shared.redis import Client
from shared.terms import Terms

A = "alice"
LEAST = Decimal("1e-9")


@pytest.fixture
def holds(redis: Client) -> Holds:
    return Holds(redis)


@pytest.fixture
def ledger(redis: Client) -> Ledger:
    return Ledger(redis, EventLog(redis))


async def grant(redis: Client, usd: str, grant_id: str = "g") -> bool:
    return await Credits(redis).grant(A, Decimal(usd), grant_id=grant_id)


async def place(
    holds: Holds, execution_id: str, wanted: str = "0", least: str = "0", most: int = 0
) -> Placed:
    return await holds.place(
        A, execution_id, most=most, wanted=Decimal(wanted), least=Decimal(least)
    )


def row(execution_id: str, cost: str, *, prepaid: bool = True) -> Row:
    return Row(
        execution_id=execution_id,
        owner=A,
        skill_id="words",
        created_at=1_795_500_000_000,
        outcome="completed",
        cost_usd=Decimal(cost),
        prepaid=prepaid,
    )


def job(execution_id: str, cost: str | None) -> Execute:
    most = None if cost is None else Decimal(cost)
    terms = Terms(owner=A, skill_id="words", created_at=1, max_cost=most, prepaid=most is not None)
    return Execute.of(execution_id, {}, terms)


async def stands(holds: Holds) -> tuple[str | None, str, int]:
    found = await holds.account(A)
    credit = None if found.credit is None else f"{found.credit:f}"
    return credit, f"{found.reserved:f}", found.running


async def give_back(holds: Holds, execution_id: str, placed: Placed) -> None:
    assert placed.lapses is not None
    await holds.release(A, execution_id, placed.lapses)


async def lapse(redis: Client, *names: str) -> None:
    for name in names:
        await redis.zadd(hold_keys(A)[1], {name: 1})


async def test_what_is_reserved_comes_back_but_for_the_cost(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await grant(redis, "10")
    assert (await place(holds, "e1", "2.5")).reserved == Decimal("2.5")
    assert (await place(holds, "e2", "0.000000001")).reserved == LEAST
    assert await stands(holds) == ("7.499999999", "2.500000001", 2)
    await Queue(redis).put(job("e1", "2.5"))
    await ledger.record(row("e1", "0.123456789"))
    await ledger.record(row("e2", "0"))
    assert await stands(holds) == ("9.876543211", "0", 0)
    assert not await ledger.record(row("e1", "5"))
    assert await stands(holds) == ("9.876543211", "0", 0)


async def test_amounts_past_what_a_double_holds_are_exact(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await grant(redis, "1000000000")
    await grant(redis, "0.000000001", "h")
    assert (await place(holds, "e1", "999999999.999999999")).reserved == Decimal(
        "999999999.999999999"
    )
    assert await stands(holds) == ("0.000000002", "999999999.999999999", 1)
    await ledger.record(row("e1", "999999999.999999998"))
    assert await stands(holds) == ("0.000000003", "0", 0)


async def test_a_hold_is_placed_once_for_each_execution(redis: Client, holds: Holds) -> None:
    await grant(redis, "1")
    await place(holds, "e", "0.4", most=1)
    assert await place(holds, "e", "0.9", most=1) == Placed(Decimal("0.4"), None)
    assert await stands(holds) == ("0.6", "0.4", 1)


@pytest.mark.parametrize(
    ("credit", "wanted", "least", "reserved"),
    [
        ("1", "1", "1", "1"),
        ("0.9", "1", "0.1", "0.9"),
        ("0.1", "1", "0.1", "0.1"),
        ("0.099999999", "1", "0.1", None),
        ("9", "10", "10", None),  # as texts, 9 is more than 10
        ("0.5", "0", "0", "0"),
    ],
)
async def test_what_there_is_is_reserved_if_it_is_enough(
    redis: Client, holds: Holds, credit: str, wanted: str, least: str, reserved: str | None
) -> None:
    await grant(redis, credit)
    if reserved is None:
        with pytest.raises(Poor) as poor:
            await place(holds, "e", wanted, least)
        assert poor.value.credit == Decimal(credit)
        assert await stands(holds) == (credit, "0", 0)
    else:
        assert (await place(holds, "e", wanted, least)).reserved == Decimal(reserved)


async def test_credit_that_is_overdrawn_covers_nothing_but_what_is_free(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await grant(redis, "1")
    await ledger.record(row("lapsed", "1.5"))
    assert await stands(holds) == ("-0.5", "0", 0)
    with pytest.raises(Poor):
        await place(holds, "e", "1", "0.000000001")
    assert (await place(holds, "free")).reserved == 0


async def test_as_many_run_as_may(redis: Client, holds: Holds, ledger: Ledger) -> None:
    for name in ("e1", "e2"):
        assert (await place(holds, name, most=2)).reserved is None
    with pytest.raises(TooMany):
        await place(holds, "e3", most=2)
    await ledger.record(row("e1", "1", prepaid=False))
    await place(holds, "e3", most=2)
    assert await stands(holds) == (None, "0", 2)


async def test_a_hold_whose_job_never_came_lapses(redis: Client, holds: Holds) -> None:
    await grant(redis, "1")
    names = [f"e{number}" for number in range(30)]
    for name in names:
        await place(holds, name, "0.01")
    await lapse(redis, *names)
    await place(holds, "new", "0.5", most=1)  # none of the lapsed ones counts
    for _ in range(2):
        await holds.account(A)  # a few each time
    assert await stands(holds) == ("0.5", "0.5", 1)


async def test_a_queued_job_holds_for_as_long_as_it_may_live(redis: Client, holds: Holds) -> None:
    await grant(redis, "1")
    await place(holds, "e", "0.5")
    _, key, _ = hold_keys(A)
    before = await redis.zscore(key, "e")
    assert await Queue(redis).put(job("e", "0.5"))
    after = await redis.zscore(key, "e")
    assert before is not None
    assert after is not None
    assert after - before > Terms(owner=A, skill_id="s", created_at=1).longest * 1000
    assert not await Queue(redis).put(job("e", "0.5"))
    assert await stands(holds) == ("0.5", "0.5", 1)


async def test_a_job_whose_hold_has_lapsed_takes_it_again_or_is_not_queued(
    redis: Client, holds: Holds
) -> None:
    await grant(redis, "1")
    await place(holds, "e", "0.6")
    await lapse(redis, "e")
    other = await place(holds, "other", "0.5")
    with pytest.raises(Uncovered):
        await Queue(redis).put(job("e", "0.6"))
    assert await stands(holds) == ("0.5", "0.5", 1)
    await give_back(holds, "other", other)
    assert await Queue(redis).put(job("e", "0.6"))
    assert await stands(holds) == ("0.4", "0.6", 1)


async def test_a_cost_whose_hold_has_lapsed_is_still_paid(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await grant(redis, "1")
    await place(holds, "e", "0.6")
    await lapse(redis, "e")
    assert await stands(holds) == ("1", "0", 0)
    await ledger.record(row("e", "0.2"))
    assert await stands(holds) == ("0.8", "0", 0)


async def test_what_was_started_without_credit_is_not_paid_from_it(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await Queue(redis).put(job("e", None))
    await grant(redis, "1")
    await ledger.record(row("e", "0.2", prepaid=False))
    assert await stands(holds) == ("1", "0", 0)


async def test_a_start_of_which_nothing_came_gives_back(redis: Client, holds: Holds) -> None:
    await grant(redis, "1")
    placed = await place(holds, "e", "0.6")
    for _ in range(2):
        await give_back(holds, "e", placed)
    assert await stands(holds) == ("1", "0", 0)


@pytest.mark.parametrize("how", ["kept", "queued", "placed again"])
async def test_a_hold_that_others_rely_on_is_not_given_back(
    redis: Client, holds: Holds, how: str
) -> None:
    await grant(redis, "1")
    placed = await place(holds, "e", "0.6")
    if how == "kept":
        assert (await place(holds, "e", "0.6")).lapses is None
    elif how == "queued":
        await Queue(redis).put(job("e", "0.6"))
    else:
        await lapse(redis, "e")
        await holds.account(A)
        await Queue(redis).put(job("e", "0.6"))
    await give_back(holds, "e", placed)
    assert await stands(holds) == ("0.4", "0.6", 1)


async def test_credit_that_ended_is_gone_and_what_ran_on_it_gives_nothing_back(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await grant(redis, "1")
    _, second, _ = [await place(holds, name, "0.2") for name in ("e1", "e2", "e3")]
    assert await Credits(redis).accounts() == [A]
    assert (await Credits(redis).end(A, force=True)).done
    assert await Credits(redis).accounts() == []
    await ledger.record(row("e1", "0.1"))
    await give_back(holds, "e2", second)
    await lapse(redis, "e3")
    assert await stands(holds) == (None, "0", 0)


async def test_credit_that_is_reserved_does_not_end(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    """Else what runs on it would be paid from a later grant, which it was not reserved from."""
    credits = Credits(redis)
    await grant(redis, "1")
    names = [f"lapsed{number}" for number in range(30)]
    for name in names:
        await place(holds, name, "0.01")
    await place(holds, "free")
    await place(holds, "e", "0.5")
    await lapse(redis, *names)
    for _ in range(2):
        ended = await credits.end(A)
        assert ended == Ended(
            done=False, executions=1, credit=Decimal("0.5"), reserved=Decimal("0.5")
        )
        assert await stands(holds) == ("0.5", "0.5", 2)
        assert await credits.accounts() == [A]
    await ledger.record(row("e", "0.2"))
    assert await credits.end(A) == Ended(
        done=True, executions=0, credit=Decimal("0.8"), reserved=Decimal(0)
    )
    assert await stands(holds) == (None, "0", 1)
    assert (await credits.end(A)).credit is None
    await grant(redis, "1")  # the old id is free again
    await ledger.record(row("free", "0"))
    assert await stands(holds) == ("1", "0", 0)


async def test_a_grant_counts_once(redis: Client, holds: Holds) -> None:
    assert [await grant(redis, "1", name) for name in ("a", "a", "b")] == [True, False, True]
    assert await stands(holds) == ("2", "0", 0)
    assert [grant.id for grant in await Credits(redis).grants(A)] == ["a", "b"]


async def test_more_than_can_be_counted_is_not_granted(redis: Client, holds: Holds) -> None:
    for number in range(9):
        await grant(redis, "1000000000", f"g{number}")
    with pytest.raises(ResponseError):
        await grant(redis, "1000000000", "too much")
    assert (await holds.account(A)).credit == Decimal(9_000_000_000)
    assert len(await Credits(redis).grants(A)) == 9


async def test_an_account_may_have_limits_of_its_own(redis: Client, holds: Holds) -> None:
    assert await holds.standing(A) == Standing()
    await holds.limit(A, {"executions": 3, "input_bytes": 0})
    assert await holds.standing(A) == Standing(executions=3, input_bytes=0)
    await grant(redis, "1")
    await holds.limit(A, {"executions": None, "starts_per_minute": 7})
    assert await holds.standing(A) == Standing(True, None, 7, 0)


async def test_what_was_cancelled_before_its_start_gives_back(
    redis: Client, holds: Holds, ledger: Ledger
) -> None:
    await grant(redis, "1")
    await place(holds, "mine", "0.6")
    log = EventLog(redis)
    await log.bar("mine", A)
    await log.start("mine", b"{}", job("mine", "0.6").terms, ttl=100, owner=A, barred=_CANCELLED)
    assert await ledger.settle("mine")
    assert await holds.account(A) == Account(Decimal(1), Decimal(0), 0)


_CANCELLED = encode_payload(CANCELLED)


@pytest.mark.parametrize("usd", ["0", "1", "100", "0.000000001", "123456789.987654321", "1.50"])
def test_amounts_keep_every_digit(usd: str) -> None:
    there = to_usd(to_nano(Decimal(usd)))
    assert there == Decimal(usd)
    assert "E+" not in str(there)  # 1E+2 is valid JSON, but surprises readers


def test_what_is_finer_than_a_cost_can_be_is_rounded_down() -> None:
    assert to_nano(Decimal("0.0000000019")) == 1
    assert to_nano(Decimal("1e30")) == 10**18

"""The billing stream: what a group did not acknowledge stays, whatever is trimmed or deleted."""

import pytest

from shared.feed import Feed, FeedError
from shared.keys import BILLING
from shared.redis import Client


@pytest.fixture
def feed(valkey_client: Client) -> Feed:
    return Feed(valkey_client)


@pytest.fixture
def redis(valkey_client: Client) -> Client:
    return valkey_client


async def write(redis: Client, *numbers: int) -> None:
    for number in numbers:
        await redis.xadd(BILLING, {"id": f"e{number}", "row": "{}"}, nomkstream=True)


async def read(redis: Client, group: str, count: int) -> list[bytes]:
    answer = await redis.xreadgroup(group, "one", {BILLING: ">"}, count=count)
    return [id for _, entries in answer for id, _ in entries]


async def test_only_what_all_groups_acknowledged_is_trimmed(feed: Feed, redis: Client) -> None:
    assert await feed.trim() == 0
    await feed.create("invoices")
    await feed.create("tax")
    await write(redis, *range(1000))
    assert await feed.trim() == 0  # nobody was given anything

    ids = await read(redis, "invoices", 700)
    await redis.xack(BILLING, "invoices", *ids[:300], *ids[400:])
    assert await feed.trim() == 0  # the other one still needs all
    taxed = await read(redis, "tax", 1000)
    await redis.xack(BILLING, "tax", *taxed)
    assert await feed.trim() == 300
    assert (await redis.xrange(BILLING, count=1))[0][0] == ids[300]

    await redis.xack(BILLING, "invoices", *ids)
    assert await feed.trim() == 400
    assert await redis.xlen(BILLING) == 300
    await feed.create("late", everything=True)
    assert await feed.trim() == 0
    assert len(await read(redis, "late", 1000)) == 300


async def test_the_status_says_what_is_not_done(feed: Feed, redis: Client) -> None:
    assert await feed.status() is None
    await feed.create("invoices")
    await feed.create("tax")
    await write(redis, 1, 2, 3)
    (first, _) = await read(redis, "invoices", 2)
    await redis.xack(BILLING, "invoices", first)
    await redis.xack(BILLING, "tax", *await read(redis, "tax", 3))
    state = await feed.status()
    assert state is not None
    assert (state.length, state.bytes > 0) == (3, True)
    invoices, tax = state.groups
    assert (invoices.name, invoices.consumers, invoices.pending, invoices.lag) == (
        "invoices",
        1,
        1,
        1,
    )
    assert invoices.oldest_s > 0
    assert (tax.pending, tax.lag, tax.oldest_s) == (0, 0, 0)


async def test_a_group_goes_when_it_is_done_and_the_stream_with_the_last(
    feed: Feed, redis: Client
) -> None:
    assert await feed.delete("invoices") is None
    await feed.create("invoices")
    with pytest.raises(FeedError, match="already"):
        await feed.create("invoices")
    await feed.create("tax")
    await write(redis, 1)
    assert await feed.delete("unknown") is None
    with pytest.raises(FeedError, match="not acknowledged"):
        await feed.delete("tax")
    ids = await read(redis, "tax", 1)
    with pytest.raises(FeedError, match="not acknowledged"):
        await feed.delete("tax")
    await redis.xack(BILLING, "tax", *ids)
    assert await feed.delete("tax") == 1
    assert await feed.delete("invoices", force=True) == 0
    assert not await redis.exists(BILLING)

"""Metering: the log itself says what was used, whoever writes its end and whoever has died."""

import asyncio
import time

import pytest

from machpay import Skill
from machpay._endings import CANCELLED
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.skill import OnInterrupt
from shared.bill import Used
from shared.entry import Entry
from shared.keys import log_key
from shared.log import EventLog, NewEvent
from shared.redis import Client
from shared.terms import Terms, encode_terms
from workers.claim import Claim, claim, hand_over
from workers.leases import Leases

TERMS = Terms(owner="alice", skill_id="words", created_at=1 << 42, timeout=5_000)
CHUNK: NewEvent = ("chunk", b'{"text":"word ","index":0,"timestamp":0}')


@pytest.fixture
async def log(redis: Client) -> EventLog:
    log = EventLog(redis)
    await log.start("e", b"{}", encode_terms(TERMS), ttl=1000)
    return log


async def take(log: EventLog, worker: str, policy: OnInterrupt = "fail") -> Claim:
    skill = Skill(id="words", on_interrupt=policy)
    mine = await claim(log, Leases(log._redis, 10, token=worker), "e", skill, TERMS)
    assert mine is not None
    return mine


async def lost(log: EventLog, policy: OnInterrupt) -> Claim:
    """Have a worker deliver two chunks of 9 tokens in 4 s, and another one take over."""
    first = await take(log, "w1", policy)
    used = Used(2, 9, 4000)
    await log.append("e", Position(first.attempt, first.next_seq), [CHUNK] * 2, used=used)
    return await take(log, "w2", policy)


async def last(log: EventLog) -> Entry:
    entry = await log.last("e")
    assert entry is not None
    return entry


async def used(log: EventLog) -> Used:
    return Used.read((await last(log)).extra)


async def test_a_claim_has_used_nothing(log: EventLog) -> None:
    await take(log, "w1")
    extra = (await last(log)).extra
    assert Used.read(extra) == Used()
    assert abs(int(extra.split()[3]) - time.time() * 1000) < 60_000


async def test_only_the_last_of_a_batch_says_it(log: EventLog) -> None:
    mine = await take(log, "w1")
    sofar = Used(3, 7, 100)
    await log.append("e", Position(mine.attempt, mine.next_seq), [CHUNK] * 3, used=sofar)
    extras = [Used.read(entry.extra) for entry in (await log.read("e"))[2:]]
    assert extras == [Used(), Used(), sofar]


async def test_a_cancelled_run_used_what_the_log_has_and_the_time_until_then(log: EventLog) -> None:
    mine = await take(log, "w1")
    sofar = Used(2, 9, 1000)
    await log.append("e", Position(mine.attempt, mine.next_seq), [CHUNK] * 2, used=sofar)
    before = int((await last(log)).extra.split()[3])
    await asyncio.sleep(0.02)
    assert await log.conclude("e", encode_payload(CANCELLED))
    entry = await last(log)
    since = int(entry.extra.split()[3]) - before
    assert since >= 20
    assert Used.read(entry.extra) == Used(2, 9, 1000 + since)


async def test_what_nobody_claimed_used_nothing(log: EventLog) -> None:
    await log.conclude("e", encode_payload(CANCELLED))
    assert (await last(log)).extra == b""


async def test_a_flush_whose_answer_was_lost_is_counted_once(log: EventLog) -> None:
    mine = await take(log, "w1")
    place = Position(mine.attempt, mine.next_seq)
    await log.append("e", place, [CHUNK], used=Used(1, 2, 10))
    await log.append("e", place, [CHUNK], used=Used(1, 2, 99))
    assert await used(log) == Used(1, 2, 10)
    await log.append("e", place, [CHUNK, CHUNK], used=Used(2, 4, 99))  # the rest of a batch
    assert await used(log) == Used(2, 4, 99)


@pytest.mark.parametrize("policy", ["continue", "replay"])
async def test_a_successor_has_what_was_delivered_and_none_of_the_time(
    log: EventLog, policy: OnInterrupt
) -> None:
    mine = await lost(log, policy)
    assert await used(log) == Used(2, 9, 0)
    if policy == "continue":
        assert mine.delivered is not None
        assert mine.delivered.tokens == 9


async def test_an_output_that_begins_again_is_paid_for_once(log: EventLog) -> None:
    await lost(log, "restart")
    assert (await last(log)).type == b"start"
    assert await used(log) == Used()


async def test_while_it_waits_for_another_worker_no_time_passes(log: EventLog) -> None:
    mine = await take(log, "w1", "continue")
    place = Position(mine.attempt, mine.next_seq)
    await log.append("e", place, [CHUNK], used=Used(1, 2, 500))
    await hand_over(log, mine, "w1", place.seq)
    handed_over = await used(log)
    assert 500 <= handed_over.ms < 60_000
    await asyncio.sleep(0.02)
    await log.conclude("e", encode_payload(CANCELLED))
    assert await used(log) == handed_over


async def test_nobody_pays_for_the_time_after_their_worker_died(log: EventLog) -> None:
    mine = await take(log, "w1", "continue")
    sofar = Used(1, 2, 500)
    await log.append("e", Position(mine.attempt, mine.next_seq), [CHUNK], used=sofar)
    await asyncio.sleep(0.02)
    await log.conclude("e", encode_payload(CANCELLED), running=False)
    assert await used(log) == sofar


async def test_a_log_of_an_older_release_ends_without_a_bill(log: EventLog, redis: Client) -> None:
    mine = await take(log, "w1")
    await redis.execute_command("XADD", log_key("e"), f"{mine.attempt}-3", "e", "chunk", "d", "{}")
    assert await log.conclude("e", encode_payload(CANCELLED))
    assert (await last(log)).extra == b""

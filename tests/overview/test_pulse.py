"""The pulse: what processes count adds up, survives an outage, and takes no more room than it may."""

import time
from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError

from machpay._endings import CANCELLED
from machpay._wire import encode_payload
from machpay.serve.overview import Percentiles
from shared.bill import Used
from shared.history import MOST_STEPS, SETTLED_SLOTS, History
from shared.keys import PULSE_TTL_MS, RECENT, SLOT_MS, pulse_key
from shared.ledger import OTHER, RECENT_ROWS, Ledger, Row
from shared.log import EventLog
from shared.pulse import DELIVERY, FIRST_CHUNK, KEPT_SLOTS, STARTED, Pulse, Tally
from shared.redis import Client
from shared.terms import Terms

TERMS = Terms(owner="alice", skill_id="words", created_at=1_795_500_000_000)


class Clock:
    """What the pulse takes for the time, in ms."""

    def __init__(self) -> None:
        self.ms = time.time_ns() // 1_000_000

    def time_ns(self) -> int:
        return self.ms * 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("shared.pulse.time", SimpleNamespace(time_ns=clock.time_ns))
    return clock


def cancelled(execution_id: str, code: str = "cancelled") -> Row:
    ending = encode_payload(CANCELLED).replace(b"cancelled", code.encode(), 1)
    return Row.of(execution_id, TERMS, "error", ending, Used())


async def test_what_processes_count_adds_up(redis: Client, clock: Clock) -> None:
    for seconds in (0.010, 0.100):
        tally = Tally()
        tally.count(STARTED)
        for _ in range(50):
            tally.measure(FIRST_CHUNK, seconds)
        tally.measure(DELIVERY, -0.5)
        await Pulse(redis, tally).flush()
        await Pulse(redis, tally).flush()  # nothing is left to hand on: it changes nothing
    story = await History(redis).tell(clock.ms, 5)
    total = story.total
    assert total.started == 2
    assert isinstance(total.first_chunk, Percentiles)
    assert isinstance(total.delivery, Percentiles)
    assert (total.first_chunk.count, total.delivery.count) == (100, 2)
    assert total.first_chunk.p50_ms == pytest.approx(10, rel=0.05)
    assert total.first_chunk.p95_ms == pytest.approx(100, rel=0.05)
    assert total.delivery.p99_ms < 0.11  # what seems to arrive before it was made
    assert [moment.started for moment in story.series] == [0] * 29 + [2]
    assert story.series[-1].at == clock.ms // SLOT_MS * SLOT_MS
    assert 0 < await redis.pttl(pulse_key(clock.ms // SLOT_MS)) <= PULSE_TTL_MS


async def test_an_outage_loses_nothing_of_the_last_minute_and_keeps_no_more(
    redis: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally()
    pulse = Pulse(redis, tally)

    async def refuse(_keys: list[str], _args: list[object]) -> None:
        raise ConnectionError("refused")

    began = clock.ms
    with monkeypatch.context() as patched:
        patched.setattr(pulse, "_add", refuse)
        for _ in range(KEPT_SLOTS + 2):
            tally.count(STARTED)
            with pytest.raises(ConnectionError):
                await pulse.flush()
            clock.ms += SLOT_MS
    clock.ms -= SLOT_MS
    await pulse.flush()
    story = await History(redis).tell(clock.ms, 5)
    assert [moment.started for moment in story.series[-KEPT_SLOTS - 2 :]] == [0, 0] + [1] * 6
    assert await redis.exists(pulse_key(began // SLOT_MS)) == 0


async def test_what_is_settled_is_not_read_again(redis: Client) -> None:
    """Whoever looks every two seconds costs Redis the last slots, not two hours."""
    now = time.time_ns() // 1_000_000
    slot = now // SLOT_MS
    history = History(redis)
    settled, open_one = slot - SETTLED_SLOTS - 1, slot - 1
    await history.tell(now, 5)
    for one in (settled, open_one):
        await redis.hset(pulse_key(one), STARTED, "1")  # type: ignore[misc]
    assert (await history.tell(now, 5)).total.started == 1
    assert (await History(redis).tell(now, 5)).total.started == 2


@pytest.mark.parametrize(
    ("minutes", "steps", "step_s"), [(1, 6, 10), (30, 180, 10), (31, 93, 20), (120, 180, 40)]
)
async def test_a_long_series_has_wider_steps(
    valkey_client: Client, minutes: int, steps: int, step_s: int
) -> None:
    now = time.time_ns() // 1_000_000
    oldest = (now - (minutes * 60_000 - step_s * 1000)) // SLOT_MS
    for slot in (oldest, now // SLOT_MS):
        await valkey_client.hset(pulse_key(slot), STARTED, "3")  # type: ignore[misc]
    story = await History(valkey_client).tell(now, minutes)
    assert (len(story.series), story.step_ms) == (steps, step_s * 1000)
    assert len(story.series) <= MOST_STEPS
    assert (story.series[0].started, story.series[-1].started, story.total.started) == (3, 3, 6)


async def test_an_execution_is_counted_and_listed_with_its_row_once(redis: Client) -> None:
    ledger = Ledger(redis, EventLog(redis))
    assert await ledger.record(cancelled("e", "timeout"))
    assert not await ledger.record(cancelled("e", "internal"))
    assert await ledger.record(cancelled("f"))
    story = await History(redis).tell(time.time_ns() // 1_000_000, 5)
    assert (story.total.ended, story.total.failed) == (2, 1)
    assert {(error.code, error.executions) for error in story.errors} == {
        ("cancelled", 1),
        ("timeout", 1),
    }
    recent = await ledger.recent(10)
    assert [listed.row.execution_id for listed in recent] == ["f", "e"]
    assert recent[0].at >= recent[1].at > TERMS.created_at


async def test_a_skill_that_makes_up_codes_fills_neither_slot_nor_list(
    valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.ledger.MOST_FIELDS", 50)
    ledger = Ledger(valkey_client, EventLog(valkey_client))
    made_up = 2 * RECENT_ROWS + 50
    for number in range(made_up):
        assert await ledger.record(cancelled(f"e{number}", f"code_{number}"))
    (*slots,) = [key async for key in valkey_client.scan_iter("machpay:pulse:*")]
    for slot in slots:
        assert await valkey_client.hlen(slot) <= 51  # type: ignore[misc]
    assert await valkey_client.llen(RECENT) == RECENT_ROWS + 50  # type: ignore[misc]
    assert await valkey_client.ttl(RECENT) > 0
    assert len(await ledger.recent(RECENT_ROWS)) == RECENT_ROWS
    story = await History(valkey_client).tell(time.time_ns() // 1_000_000, 5)
    assert story.total.ended == made_up
    if len(slots) == 1:  # else it went over a slot's end, and each was spared
        assert story.errors[0].code == OTHER


async def test_figures_that_can_not_be_counted_keep_no_row_from_being_written(
    redis: Client,
) -> None:
    await redis.set(RECENT, "of another type")
    ledger = Ledger(redis, EventLog(redis))
    assert await ledger.record(cancelled("e"))
    assert not await ledger.record(cancelled("e"))

"""The claim: who may write, and what a successor does with what it finds."""

import time
from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest

from machpay import Resume, Skill
from machpay._position import Position
from machpay._wire import encode_payload
from machpay.events import ChunkEvent
from machpay.skill import OnInterrupt
from shared import patience
from shared.bill import Used
from shared.entry import Mark
from shared.keys import lease_key, log_key
from shared.log import EventLog
from shared.redis import Client
from shared.refusals import Fenced, LogError
from shared.terms import Terms, encode_terms
from tests.rollback import roll_back
from workers.claim import MAX_ATTEMPTS, Claim, claim, hand_over
from workers.leases import Leases
from workers.past import Transcript

# Started by a clock that is ahead: attempts are numbered 1, 2, 3.
TERMS = Terms(owner="alice", skill_id="words", created_at=1 << 42, timeout=5_000)


@pytest.fixture
async def log(redis: Client) -> EventLog:
    log = EventLog(redis)
    await log.start("e", b"{}", encode_terms(TERMS), ttl=1000)
    return log


async def take(log: EventLog, worker: str, policy: OnInterrupt = "fail") -> Claim | None:
    skill = Skill(id="words", on_interrupt=policy)
    return await claim(log, Leases(log._redis, 10, token=worker), "e", skill, TERMS)


def chunk(index: int) -> tuple[str, bytes]:
    return "chunk", encode_payload(ChunkEvent(text=f"{index} ", index=index, timestamp=index))


async def deliver(log: EventLog, mine: Claim | None, count: int, first: int = 0) -> None:
    assert mine is not None
    events = [chunk(first + n) for n in range(count)]
    await log.append("e", Position(mine.attempt, mine.next_seq), events)


async def kinds(log: EventLog) -> list[str]:
    return [entry.type.decode() for entry in await log.read("e")]


async def code(log: EventLog) -> str:
    last = await log.last("e")
    assert last is not None
    assert last.type == b"error"
    return str(msgspec.json.decode(last.data)["code"])


async def test_the_first_claim_is_attempt_one(log: EventLog) -> None:
    assert await take(log, "w1") == Claim("e", 1, 3)
    assert await kinds(log) == ["start", "claim"]


@pytest.mark.parametrize("policy", get_args(OnInterrupt))
async def test_an_undelivered_execution_runs_again_silently(
    log: EventLog, policy: OnInterrupt
) -> None:
    await take(log, "w1", policy)
    again = await take(log, "w2", policy)
    assert again is not None
    assert again._replace(spent=0.0) == Claim("e", 2, 4, 2)
    assert await kinds(log) == ["start", "claim", "claim"]


async def test_fail_ends_a_delivered_execution_with_worker_lost(log: EventLog) -> None:
    await deliver(log, await take(log, "w1"), 1)
    assert await take(log, "w2") is None
    assert await code(log) == "worker_lost"


async def test_restart_begins_again_with_a_start_that_says_so(log: EventLog) -> None:
    await deliver(log, await take(log, "w1", "restart"), 2)
    again = await take(log, "w2", "restart")
    assert again is not None
    assert (again.attempt, again.next_seq, again.resume, again.replay) == (2, 7, None, None)
    assert await kinds(log) == ["start", "claim", "chunk", "chunk", "claim", "start"]
    last = await log.last("e")
    assert last is not None
    assert last.id == b"2-6"
    assert msgspec.json.decode(last.data) == {"executionId": "e", "skillId": "words", "attempt": 2}


async def test_what_a_restart_voided_is_not_delivered(log: EventLog) -> None:
    await deliver(log, await take(log, "w1", "restart"), 2)
    await take(log, "w2", "restart")
    await take(log, "w3", "restart")
    assert (await kinds(log))[4:] == ["claim", "start", "claim"]


async def test_continue_says_what_was_delivered_by_all_attempts(log: EventLog) -> None:
    await deliver(log, await take(log, "w1", "continue"), 2)
    again = await take(log, "w2", "continue")
    assert again is not None
    assert again.resume == Resume(text="0 1 ", chunks=2)
    await deliver(log, again, 1, first=2)
    third = await take(log, "w3", "continue")
    assert third is not None
    assert third.resume == Resume(text="0 1 2 ", chunks=3)
    assert "start" not in (await kinds(log))[1:]


async def test_replay_keeps_what_must_come_again(log: EventLog) -> None:
    await deliver(log, await take(log, "w1", "replay"), 2)
    again = await take(log, "w2", "replay")
    assert again is not None
    assert again.replay is not None
    assert again.replay.chunks == 2
    same, other = Transcript(), Transcript()
    for index in range(2):
        same.add(ChunkEvent(text=f"{index} ", index=index, timestamp=99))
        other.add(ChunkEvent(text=f"{index}", index=index, timestamp=99))
    assert again.replay.same_as(same)
    assert not again.replay.same_as(other)


@pytest.mark.parametrize("policy", get_args(OnInterrupt))
async def test_a_handler_that_kills_its_workers_is_given_up(
    log: EventLog, policy: OnInterrupt
) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        mine = await take(log, f"w{attempt}", policy)
        assert mine is not None
        assert mine.attempt == attempt
        if policy != "fail":
            await deliver(log, mine, 1, first=attempt)
    assert await take(log, "w4", policy) is None
    assert await code(log) == "worker_lost"


async def test_a_hand_over_uses_up_no_attempt(log: EventLog) -> None:
    for attempt in range(1, 3 * MAX_ATTEMPTS):
        mine = await take(log, f"w{attempt}", "continue")
        assert mine is not None
        await deliver(log, mine, 1)
        await hand_over(log, mine, f"w{attempt}", mine.next_seq)
    assert (await kinds(log))[-3:] == ["claim", "chunk", "handover"]
    assert await take(log, "w", "continue") is not None


async def test_a_hand_over_by_a_worker_that_was_fenced_says_nothing(log: EventLog) -> None:
    old = await take(log, "w1")
    assert old is not None
    await take(log, "w2")
    await hand_over(log, old, "w1", 2)
    assert await kinds(log) == ["start", "claim", "claim"]


async def test_a_hand_over_takes_no_id_that_redis_forgot(log: EventLog, redis: Client) -> None:
    mine = await take(log, "w1")
    assert mine is not None
    await deliver(log, mine, 1)
    await roll_back(redis, "e", 2)
    await hand_over(log, mine, "w1", 3)
    assert await kinds(log) == ["start", "claim"]


async def test_a_hand_over_of_what_has_ended_says_nothing(log: EventLog) -> None:
    mine = await take(log, "w1")
    assert mine is not None
    await log.append("e", Position(1, 3), [("end", b"{}")])
    await hand_over(log, mine, "w1", 2)
    assert await kinds(log) == ["start", "claim", "end"]


async def test_the_time_limit_is_one_for_all_attempts(log: EventLog) -> None:
    ago = time.time_ns() // 1_000_000 - 2_000_000
    await log.append("e", Position(1, 2), [("claim", encode_payload(Mark("w1", ago)))])
    again = await take(log, "w2")
    assert again is not None
    assert again.spent == pytest.approx(2_000, abs=100)
    late = msgspec.structs.replace(TERMS, timeout=100)
    assert await claim(log, Leases(log._redis, 10), "e", Skill(id="words"), late) is None
    assert await code(log) == "timeout"


@pytest.mark.parametrize("kind", ["end", "error"])
async def test_an_ended_execution_is_not_run_again(log: EventLog, kind: str) -> None:
    await take(log, "w1")
    await log.append("e", Position(1, 3), [chunk(0), (kind, b"{}")])
    assert await take(log, "w2") is None
    assert await kinds(log) == ["start", "claim", "chunk", kind]


async def test_an_expired_execution_is_not_run(log: EventLog, redis: Client) -> None:
    await redis.delete(log_key("e"))
    assert await take(log, "w1") is None
    assert not await redis.exists(log_key("e"))


async def test_the_log_outlives_the_executions_deadline(log: EventLog, redis: Client) -> None:
    await take(log, "w1")
    assert await redis.pttl(log_key("e")) > 5_000_000


async def test_claims_whose_answers_are_lost_use_up_no_attempt(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is applied, and its answer lost, twice: it is still one attempt."""
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    write, lost = log._write, 0

    async def lose_answers(*arguments: Any, **options: Any) -> Position:
        nonlocal lost
        answer = await write(*arguments, **options)
        lost += 1
        if lost % 3:
            raise TimeoutError("the answer is lost")
        return answer

    monkeypatch.setattr(log, "_write", lose_answers)
    for attempt in (1, 2, 3):
        mine = await take(log, f"w{attempt}", "restart")
        assert mine is not None
        assert mine.attempt == attempt
    assert await kinds(log) == ["start", *["claim"] * 3]


async def test_a_zombie_that_writes_fast_can_not_keep_its_successor_out(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a chunk in before everything its successor does."""
    zombie = await take(log, "w1", "continue")
    assert zombie is not None
    await deliver(log, zombie, 1)
    write, seq = log._write, zombie.next_seq + 1

    async def be_second(
        execution_id: str, first: Position, *rest: Any, used: Used | str = ""
    ) -> Position:
        nonlocal seq
        with suppress(LogError):
            await write(execution_id, Position(1, seq), [chunk(seq - 3)], 0.0, b"")
            seq += 1
        return await write(execution_id, first, *rest, used=used)

    monkeypatch.setattr(log, "_write", be_second)
    again = await take(log, "w2", "continue")
    assert again is not None
    assert again.attempt == 2
    assert again.resume == Resume(text="".join(f"{n} " for n in range(seq - 3)), chunks=seq - 3)
    assert seq > zombie.next_seq + 1
    with pytest.raises(Fenced):
        await write("e", Position(1, seq), [chunk(0)], 0.0, b"")


async def test_attempts_are_numbered_by_the_clock_and_counted_for_people(log: EventLog) -> None:
    """Or, after a failover that lost a claim, the next one would write under the same ids."""
    started = msgspec.structs.replace(TERMS, created_at=int((time.time() - 60) * 1000))
    skill = Skill(id="words", on_interrupt="restart")
    first = await claim(log, Leases(log._redis, 10), "e", skill, started)
    assert first is not None
    assert 600 <= first.attempt < 700
    assert first.ordinal == 1
    await deliver(log, first, 1)
    later = msgspec.structs.replace(started, created_at=started.created_at - 2_000)
    second = await claim(log, Leases(log._redis, 10), "e", skill, later)
    assert second is not None
    assert second.attempt >= first.attempt + 20
    assert second.ordinal == 2
    last = await log.last("e")
    assert last is not None
    assert last.position == Position(second.attempt, second.next_seq - 1)
    assert msgspec.json.decode(last.data)["attempt"] == 2


async def test_a_pick_that_is_stale_claims_nothing(log: EventLog, redis: Client) -> None:
    """Its worker slept between pick and claim, and another one has the job by now."""
    await deliver(log, await take(log, "w2", "continue"), 1)
    await redis.set(lease_key("e"), "w2")
    assert await take(log, "w1", "continue") is None
    assert await kinds(log) == ["start", "claim", "chunk"]
    assert await take(log, "w2", "continue") is not None

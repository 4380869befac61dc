"""Picking, leasing, losing and giving back jobs."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from arq.jobs import deserialize_job

from shared.jobs import Execute, Queue
from shared.keys import BELL, LEASE_PREFIX, QUEUE, job_key
from shared.redis import Client
from shared.terms import Terms
from workers.leases import Leases, Renewed

LEASE = 10.0
TERMS = Terms(owner="alice", skill_id="words", created_at=1)


@pytest.fixture
def queue(redis: Client) -> Queue:
    return Queue(redis)


@pytest.fixture
def leases(redis: Client) -> Leases:
    return Leases(redis, LEASE, token="me")


@pytest.fixture
def others(redis: Client) -> Leases:
    return Leases(redis, LEASE, token="other")


Put = Callable[..., Awaitable[None]]


@pytest.fixture
def put(queue: Queue, redis: Client) -> Put:
    async def put(*ids: str) -> None:
        for ms, name in enumerate(ids, 1):
            await queue.put(Execute.of(name, {"n": 1}, TERMS))
            await redis.zadd(QUEUE, {name: ms})  # long ago, one after the other

    return put


async def lapse(redis: Client, job_id: str) -> None:
    """Let a lease lapse, as time would."""
    await redis.zadd(QUEUE, {job_id: 1})


async def test_jobs_are_picked_once_oldest_first(put: Put, leases: Leases, others: Leases) -> None:
    await put("c", "a", "b")
    assert [job.job_id for job in await leases.pick(2)] == ["c", "a"]
    assert [job.job_id for job in await others.pick(2)] == ["b"]
    assert await leases.pick(2) == []


async def test_running_jobs_leave_the_read_window(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put(*(f"long-{n:03}" for n in range(120)))
    assert len(await leases.pick(120)) == 120
    await put("short")
    assert [job.job_id for job in await others.pick(1)] == ["short"]
    assert await redis.zcard(QUEUE) == 121


async def test_a_job_is_queued_once(queue: Queue, redis: Client) -> None:
    job = Execute.of("a", {"n": 1}, TERMS)
    assert await queue.put(job)
    assert not await queue.put(job)
    assert await redis.zcard(QUEUE) == 1
    assert await redis.execute_command("LLEN", BELL) == 1


async def test_a_job_is_due_now_by_the_clock_of_redis(queue: Queue, redis: Client) -> None:
    before = await redis.time()
    await queue.put(Execute.of("a", {"n": 1}, TERMS))
    due = await redis.zscore(QUEUE, "a")
    assert due is not None
    assert before[0] * 1000 <= due <= before[0] * 1000 + 60_000


async def test_a_job_survives_the_queue_whole(queue: Queue, redis: Client) -> None:
    data = {"big": 1 << 80, "text": "h\u00e9\u2028", "nested": [{"a": None}]}
    await queue.put(Execute.of("a", data, TERMS))
    raw = await redis.get(job_key("a"))
    job = deserialize_job(raw, deserializer=msgspec.msgpack.decode)
    assert job.function == "execute"
    assert msgspec.convert(job.kwargs, Execute).decode() == (data, TERMS)


async def test_the_doorbell_is_bounded(put: Put, queue: Queue, redis: Client) -> None:
    await redis.execute_command("LPUSH", BELL, *["1"] * 1500)
    await put("a")
    assert await redis.execute_command("LLEN", BELL) == 1000


async def test_a_lapsed_lease_makes_the_job_due_for_others(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    await lapse(redis, "a")
    assert [job.job_id for job in await others.pick(1)] == ["a"]
    assert await leases.renew(["a"]) == Renewed(["a"], [])


async def test_a_lease_lasts_as_long_as_it_says(
    put: Put, queue: Queue, leases: Leases, redis: Client
) -> None:
    await put("a")
    before, _ = await redis.time()
    await leases.pick(1)
    until = await redis.zscore(QUEUE, "a")
    assert until is not None
    assert 10 <= until / 1000 - before <= 12
    assert await queue.leased("a")
    await lapse(redis, "a")
    assert not await queue.leased("a")


async def test_who_lost_a_job_can_not_take_it_back_when_all_leases_lapsed(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    """After an outage: the one who picked it last has it, even if the other is faster."""
    await put("a")
    await leases.pick(1)
    await lapse(redis, "a")
    await others.pick(1)
    await lapse(redis, "a")
    assert await leases.renew(["a"]) == Renewed(["a"], [])
    assert not await leases.holds("a")
    assert await others.renew(["a"]) == Renewed([], [])
    assert await others.holds("a")


async def test_renewing_moves_lease_and_score(put: Put, leases: Leases, redis: Client) -> None:
    await put("a", "b")
    await leases.pick(2)
    due = await redis.zscore(QUEUE, "a")
    assert due is not None
    await redis.pexpire(LEASE_PREFIX + "a", 3_000)
    await redis.zadd(QUEUE, {"a": due - 7_000, "b": due - 7_000})  # seven seconds later
    assert await leases.renew(["a", "b"]) == Renewed([], [])
    assert await redis.pttl(LEASE_PREFIX + "a") > 9_000
    for name in ("a", "b"):
        renewed = await redis.zscore(QUEUE, name)
        assert renewed is not None
        assert renewed >= due


async def test_a_lapsed_lease_that_nobody_took_is_taken_again(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    await lapse(redis, "a")
    assert await leases.renew(["a"]) == Renewed([], [])
    assert await others.pick(1) == []


async def test_renewing_a_finished_job_does_not_revive_it(
    put: Put, leases: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    await leases.finish("a")
    assert await leases.renew(["a"]) == Renewed([], ["a"])
    assert await redis.zcard(QUEUE) == 0
    assert not await redis.exists(LEASE_PREFIX + "a")


async def test_a_finished_job_leaves_nothing_behind(
    put: Put, leases: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    assert await leases.finish("a")
    await redis.delete(BELL)
    assert await redis.keys("*") == []


async def test_a_job_given_back_is_due_at_once_and_rings(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    await redis.delete(BELL)
    assert await leases.give_back("a")
    assert await redis.execute_command("LLEN", BELL) == 1
    assert [job.job_id for job in await others.pick(1)] == ["a"]


async def test_a_job_given_back_with_a_delay_is_due_later(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    await redis.delete(BELL)
    assert await leases.give_back("a", 60_000)
    assert await others.pick(1) == []
    assert await redis.execute_command("LLEN", BELL) == 0


async def test_another_workers_job_is_never_touched(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("a")
    await leases.pick(1)
    await lapse(redis, "a")
    await others.pick(1)
    assert not await leases.finish("a")
    assert not await leases.give_back("a")
    assert await redis.get(LEASE_PREFIX + "a") == b"other"
    assert await redis.exists(job_key("a"))


async def run_once(redis: Client, job_id: str) -> None:
    """Note that the job was run, as arq does."""
    await redis.incr(f"arq:retry:{job_id}")


async def outlast(leases: Leases, others: Leases, redis: Client) -> None:
    """Let a job of ours run through an outage in which nobody could renew or pick."""
    await leases.pick(1)
    await run_once(redis, "running")
    await others.pick(1)
    others._contact_ms -= 30_000
    await lapse(redis, "running")


async def test_what_lapsed_while_redis_was_away_is_left_to_its_holder(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("running")
    await outlast(leases, others, redis)
    await put("new")
    assert [job.job_id for job in await others.pick(5)] == ["new"]
    assert await others.pick(5) == []
    assert await leases.renew(["running"]) == Renewed([], [])
    assert await redis.get(LEASE_PREFIX + "running") == b"me"


async def test_a_renewal_that_ends_an_outage_spares_too(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("theirs", "running")
    assert [job.job_id for job in await others.pick(1)] == ["theirs"]
    await leases.pick(1)
    await run_once(redis, "running")
    others._contact_ms -= 30_000
    await lapse(redis, "running")
    assert await others.renew(["theirs"]) == Renewed([], [])
    assert await others.pick(5) == []


async def test_what_nobody_renews_after_an_outage_is_taken_over(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("running")
    await outlast(leases, others, redis)
    assert await others.pick(5) == []
    others._spare_until_ms = 0  # a lease later
    await lapse(redis, "running")
    assert [job.job_id for job in await others.pick(5)] == ["running"]


async def test_without_an_outage_a_lapsed_lease_is_taken_over_at_once(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    await put("running")
    await leases.pick(1)
    await run_once(redis, "running")
    await others.pick(1)
    await lapse(redis, "running")
    assert [job.job_id for job in await others.pick(5)] == ["running"]


async def test_a_job_is_kept_as_long_as_its_execution_may_take(queue: Queue, redis: Client) -> None:
    long = msgspec.structs.replace(TERMS, timeout=90 * 3600, queue_timeout=3600)
    for name, terms, least in (("a", TERMS, 24 * 3600), ("b", long, 91 * 3600)):
        await queue.put(Execute.of(name, {}, terms))
        assert least * 1000 - 10_000 < await redis.pttl(job_key(name))


async def test_a_renewal_that_hangs_is_given_up_within_the_lease(
    valkey_client: Client,
) -> None:
    leases = Leases(valkey_client, 0.3, token="me")
    await leases.renew(["a"])  # the script is loaded
    await valkey_client.execute_command("CLIENT", "PAUSE", 2000, "ALL")
    with pytest.raises(TimeoutError):
        await leases.renew(["a"])
    await valkey_client.execute_command("CLIENT", "UNPAUSE")


async def test_a_pick_brings_its_jobs_along(put: Put, leases: Leases, redis: Client) -> None:
    await put("a")
    await put("gone")
    await redis.delete(job_key("gone"))
    first, second = await leases.pick(2)
    assert (first.job_id, first.picks, second.job_id, second.job) == ("a", 1, "gone", None)
    assert first.job == await redis.get(job_key("a"))
    await leases.give_back("a")
    assert [job.picks for job in await leases.pick(2)] == [2]


async def test_whoever_picks_many_takes_their_tokens(
    put: Put, leases: Leases, others: Leases, redis: Client
) -> None:
    for name in "abcde":
        await put(name)
    await leases.pick(3)
    assert await redis.llen(BELL) == 3  # type: ignore[misc]
    await others.pick(1)
    assert await redis.llen(BELL) == 3  # type: ignore[misc]


async def test_a_pick_of_large_jobs_is_bounded(leases: Leases, redis: Client) -> None:
    for name in "abc":
        await redis.set(job_key(name), b"x" * (3 << 20))
        await redis.zadd(QUEUE, {name: 1})
    assert [job.job_id for job in await leases.pick(5)] == ["a", "b"]
    assert leases.more
    assert [job.job_id for job in await leases.pick(5)] == ["c"]
    assert not leases.more

"""The worker's life: the doorbell, hooks, outages, lost leases, hand-over, foreign payloads."""

import asyncio
import pickle  # noqa: TID251 - planted here, to show that it is never loaded
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Retry, func

from ops.valkey import EmbeddedValkey
from shared.jobs import Execute, Queue
from shared.keys import BELL, LEASE_PREFIX, QUEUE, job_key
from shared.redis import connect_queue
from shared.terms import Terms
from tests.waiting import eventually
from workers import worker as module
from workers.leases import Leases, Renewed
from workers.worker import Worker

TERMS = Terms(owner="alice", skill_id="words", created_at=1)


@pytest.fixture
async def redis(valkey: EmbeddedValkey) -> AsyncIterator[ArqRedis]:
    client = connect_queue(valkey.url)
    await client.flushall()
    yield client
    await client.aclose(close_connection_pool=True)


async def put(redis: ArqRedis, *ids: str) -> None:
    for name in ids:
        await Queue(redis).put(Execute.of(name, {}, TERMS))


class Jobs:
    """The function that workers run in these tests: notes what ran, and waits when told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def execute(self, ctx: dict[Any, Any], **job: Any) -> None:
        self.ran.append(job["execution_id"])
        await self.gate.wait()
        self.ended.append(job["execution_id"])

    async def have_run(self, *ids: str) -> None:
        async def all_ended() -> bool:
            return set(ids) <= set(self.ended)

        await eventually(all_ended, f"{ids} ran")


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@asynccontextmanager
async def working(
    valkey: EmbeddedValkey, run: Callable[..., Any], **options: Any
) -> AsyncIterator[Worker]:
    """Run a worker; stop it, as SIGTERM would, at the end."""
    redis = connect_queue(valkey.url)
    lease = options.pop("lease", 10.0)
    leases = Leases(redis, lease, options.pop("token", None))
    worker = Worker(
        [func(run, name="execute")],
        redis=redis,
        leases=leases,
        lease=lease,
        grace=options.pop("grace", 5.0),
        handle_signals=False,
        **options,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.async_run())
        try:
            yield worker
        finally:
            worker.stop()
            await running
            await worker.close()


async def test_the_doorbell_alone_starts_a_job(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 3600)
    async with working(valkey, jobs.execute):
        for n in range(20):
            await put(redis, f"e{n}")
            await jobs.have_run(f"e{n}")


async def test_a_lost_doorbell_token_is_made_up_for_by_polling(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    job = await payload(redis, "e")
    async with working(valkey, jobs.execute):
        await eventually(lambda: blocked_clients(redis), "the worker waits for the bell")
        async with redis.pipeline(transaction=True) as pipe:
            pipe.set(job_key("e"), job)
            pipe.zadd(QUEUE, {"e": 1})
            await pipe.execute()
        await jobs.have_run("e")


async def blocked_clients(redis: ArqRedis) -> int:
    return int((await redis.info("clients"))["blocked_clients"])


async def payload(redis: ArqRedis, name: str) -> bytes:
    """Make a job's payload without queueing it."""
    await put(redis, name)
    data = await redis.get(job_key(name))
    assert data is not None
    await redis.delete(job_key(name), BELL)
    await redis.zrem(QUEUE, name)
    return bytes(data)


async def test_all_jobs_of_a_full_worker_run_in_the_end(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    names = [f"e{n}" for n in range(25)]
    async with working(valkey, jobs.execute, max_jobs=2):
        await put(redis, *names)
        await jobs.have_run(*names)
    assert sorted(jobs.ran) == sorted(names)
    assert await redis.zcard(QUEUE) == 0


async def test_a_short_job_does_not_wait_behind_running_ones(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    """With stock arq, more than 100 running jobs in the fleet hide every new one."""
    jobs.gate.clear()
    async with working(valkey, jobs.execute, max_jobs=300):
        await put(redis, *(f"long{n}" for n in range(300)))

        async def all_run() -> bool:
            return len(jobs.ran) == 300

        await eventually(all_run, "300 long jobs run")
        short = Jobs()
        async with working(valkey, short.execute):
            await put(redis, "short")
            await short.have_run("short")
        jobs.gate.set()


@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end", "after_job_end"])
async def test_a_failing_hook_ends_neither_the_job_nor_the_worker(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    async def fail(ctx: dict[Any, Any]) -> None:
        raise RuntimeError("the hook broke")

    async with working(valkey, jobs.execute, **{hook: fail}):
        await put(redis, "a", "b")
        await jobs.have_run("a", "b")
    assert "the hook broke" in caplog.text
    assert await redis.zcard(QUEUE) == 0


async def test_a_job_that_raises_does_not_end_the_worker(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    async def explode(ctx: dict[Any, Any], **job: Any) -> None:
        if job["execution_id"] == "bad":
            raise RuntimeError("broken job")
        await jobs.execute(ctx, **job)

    async with working(valkey, explode):
        await put(redis, "bad", "good")
        await jobs.have_run("good")
    assert await redis.zcard(QUEUE) == 0


async def test_an_outage_ends_no_worker(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.05)
    with EmbeddedValkey() as own:
        async with working(own, jobs.execute):
            redis = connect_queue(own.url)
            await put(redis, "before")
            await jobs.have_run("before")
            own.kill()

            async def noticed() -> bool:
                return "no jobs are picked" in caplog.text

            await eventually(noticed, "the outage is noticed")
            own.start()
            await put(redis, "after")
            await jobs.have_run("after")
            await redis.aclose(close_connection_pool=True)


async def test_a_job_that_runs_through_an_outage_keeps_its_lease(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.gate.clear()
    with EmbeddedValkey() as own:
        async with working(own, jobs.execute, lease=2.0):
            redis = connect_queue(own.url)
            await put(redis, "a")

            async def runs() -> bool:
                return jobs.ran == ["a"]

            await eventually(runs, "the job runs")
            own.kill()

            async def noticed() -> bool:
                return "leases are not renewed" in caplog.text

            await eventually(noticed, "the missed renewal")
            own.start()

            async def renewed() -> bool:
                return int(await redis.pttl(LEASE_PREFIX + "a")) > 0

            await eventually(renewed, "the lease is renewed")
            jobs.gate.set()
            await jobs.have_run("a")
            await redis.aclose(close_connection_pool=True)
    assert jobs.ran == ["a"]


async def test_leases_are_renewed_while_jobs_run(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    jobs.gate.clear()
    async with working(valkey, jobs.execute, lease=2.0):
        await put(redis, "a", "b")

        async def both_run() -> bool:
            return len(jobs.ran) == 2

        await eventually(both_run, "both jobs run")
        first = await redis.zscore(QUEUE, "a")

        async def renewed_twice() -> bool:
            score = await redis.zscore(QUEUE, "a")
            return score is not None and first is not None and score > first + 1300

        await eventually(renewed_twice, "the lease is renewed twice")
        assert await redis.zscore(QUEUE, "a") == await redis.zscore(QUEUE, "b")
        jobs.gate.set()


async def test_a_worker_that_lost_a_lease_stops_the_job_and_leaves_it_alone(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    jobs.gate.clear()
    async with working(valkey, jobs.execute, lease=2.0) as worker:
        await put(redis, "a")

        async def runs() -> bool:
            return "a" in worker.tasks

        await eventually(runs, "the job runs")
        await redis.set(LEASE_PREFIX + "a", b"other", px=60_000)

        async def stopped() -> bool:
            return "a" not in worker.tasks

        await eventually(stopped, "the job is stopped")
        assert await redis.get(LEASE_PREFIX + "a") == b"other"
        assert jobs.ended == []


async def test_what_outlasts_the_grace_is_handed_over_at_once(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    jobs.gate.clear()
    async with working(valkey, jobs.execute, grace=0.0):
        await put(redis, "a")

        async def runs() -> bool:
            return jobs.ran == ["a"]

        await eventually(runs, "the job runs")
    jobs.gate.set()
    assert not await redis.exists(LEASE_PREFIX + "a")
    async with working(valkey, jobs.execute):
        await jobs.have_run("a")
    assert jobs.ran == ["a", "a"]


async def test_a_stopping_worker_finishes_its_jobs_and_picks_no_more(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    jobs.gate.clear()
    async with working(valkey, jobs.execute) as worker:
        await put(redis, "a")

        async def runs() -> bool:
            return jobs.ran == ["a"]

        await eventually(runs, "the job runs")
        worker.stop()
        await put(redis, "b")
        jobs.gate.set()
    assert jobs.ended == ["a"]
    assert await redis.zcard(QUEUE) == 1


async def test_a_retry_makes_the_job_due_after_its_delay(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs
) -> None:
    tries: list[int] = []

    async def retry(ctx: dict[Any, Any], **job: Any) -> None:
        tries.append(ctx["job_try"])
        if len(tries) == 1:
            raise Retry(defer=600)
        await jobs.execute(ctx, **job)

    async with working(valkey, retry):
        await put(redis, "a")

        async def given_back() -> bool:
            return bool(tries) and not await redis.exists(LEASE_PREFIX + "a")

        await eventually(given_back, "the job is given back")
        (seconds, _) = await redis.time()
        due = await redis.zscore(QUEUE, "a")
        assert due is not None
        assert 590 < due / 1000 - seconds <= 601
        await redis.zadd(QUEUE, {"a": 1})  # ten minutes later
        await jobs.have_run("a")
    assert tries == [1, 2]


class Trap:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "kind", ["pickle", "truncated", "other function", "missing", "no job", "wrong type"]
)
async def test_a_job_that_can_not_be_read_is_put_away(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs, tmp_path: Any, kind: str
) -> None:
    unrunnable: list[str] = []

    async def note(job_id: str) -> None:
        unrunnable.append(job_id)

    good = await payload(redis, "bad")
    trap = tmp_path / "loaded"
    if kind == "pickle":
        await redis.set(
            job_key("bad"), pickle.dumps({"t": 1, "f": "execute", "a": (Trap(str(trap)),)})
        )
    elif kind == "truncated":
        await redis.set(job_key("bad"), good[:-3])
    elif kind == "other function":
        await redis.set(job_key("bad"), good.replace(b"execute", b"EXECUTE"))
    elif kind == "no job":
        await redis.set(job_key("bad"), b"\x01")
    elif kind == "wrong type":
        await redis.execute_command("LPUSH", job_key("bad"), b"x")
    async with working(valkey, jobs.execute, on_unrunnable=note):
        await redis.zadd(QUEUE, {"bad": 1})
        await put(redis, "good")
        await jobs.have_run("good")

        async def put_away() -> bool:
            return await redis.zscore(QUEUE, "bad") is None

        await eventually(put_away, "the bad job leaves the queue")
    assert unrunnable == ["bad"]
    assert not trap.exists()


async def test_a_token_that_a_full_worker_took_is_passed_on(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 3600)
    jobs.gate.clear()
    free = Jobs()
    async with working(valkey, jobs.execute, max_jobs=1):
        await eventually(lambda: blocked_clients(redis), "the worker waits for the bell")
        await put(redis, "a")

        async def runs() -> bool:
            return jobs.ran == ["a"]

        await eventually(runs, "the first worker is full")
        async with working(valkey, free.execute):

            async def both_wait() -> bool:
                return await blocked_clients(redis) == 2

            # The full one too, and for longer: the next token is given to it.
            await eventually(both_wait, "both wait for the bell")
            await put(redis, "b")
            await free.have_run("b")
        jobs.gate.set()


async def test_whatever_redis_answers_the_worker_goes_on(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.02)
    async with working(valkey, jobs.execute):
        await eventually(lambda: blocked_clients(redis), "the worker waits for the bell")
        # What a demotion to a replica does to a blocked client.
        for client in await redis.client_list():
            if client["cmd"] == "blpop":
                await redis.execute_command("CLIENT", "UNBLOCK", client["id"], "ERROR")
        await redis.set(BELL, "not a list")
        await redis.zadd(QUEUE, {b"\xff\xfe": 1, b"-inf": float("-inf")})
        await redis.set(QUEUE + ":other", "1")

        async def dropped() -> bool:
            return await redis.zscore(QUEUE, b"\xff\xfe") is None

        await eventually(dropped, "what is no job leaves the queue")
        await redis.delete(BELL)
        await put(redis, "good")
        await jobs.have_run("good")


async def test_a_job_whose_stream_can_not_be_ended_is_not_forgotten(
    valkey: EmbeddedValkey, redis: ArqRedis, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNCONCLUDED_MS", 20)
    tries = 0

    async def conclude(job_id: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("the logs are away")

    await redis.zadd(QUEUE, {"bad": 1})
    async with working(valkey, jobs.execute, on_unrunnable=conclude):

        async def put_away() -> bool:
            return await redis.zscore(QUEUE, "bad") is None

        await eventually(put_away, "the job leaves the queue")
    assert tries == 3


async def test_a_worker_that_starts_in_an_outage_takes_nothing_over_at_its_end(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    # With everysec, a SIGKILL can take acknowledged writes with it, and with them what is spared here.
    with EmbeddedValkey(options={"appendfsync": "always"}) as own:
        redis = connect_queue(own.url)
        await put(redis, "running", "new")
        holder = Leases(redis, 10.0, "holder")
        assert len(await holder.pick(1)) == 1
        await redis.incr("arq:retry:running")
        await redis.delete(LEASE_PREFIX + "running")
        await redis.zadd(QUEUE, {"running": 1})
        own.kill()
        async with working(own, jobs.execute):

            async def noticed() -> bool:
                return "no jobs are picked" in caplog.text

            await eventually(noticed, "the outage is noticed")
            own.start()
            await jobs.have_run("new")
            assert jobs.ran == ["new"]
            assert await holder.renew(["running"]) == Renewed([], [])
        await redis.aclose(close_connection_pool=True)

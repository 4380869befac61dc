"""Starts at the edge: what a cancelled request, a queue that is away or a broken hub leave behind."""

import asyncio
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from edge import executions as module
from edge.executions import RedisExecutions
from edge.hub import Hub
from machpay._position import ORIGIN, Position
from machpay.serve.executions import (
    ApiError,
    SkillInfo,
    Started,
    StartRequest,
    Unavailable,
)
from ops.valkey import EmbeddedValkey
from shared.jobs import Execute, Queue
from shared.keys import QUEUE, job_key, log_key
from shared.log import EventLog, Fenced
from shared.redis import Client
from shared.registry import Registry
from tests.edges.wiring import overdue_of
from tests.waiting import eventually

REQUEST = StartRequest(skill=SkillInfo(id="words", name="Words"), input={"n": 1}, account="alice")


CHUNK = b'{"text":"a","index":0,"timestamp":1}'


class Edge:
    """An edge without HTTP."""

    def __init__(self, redis: Client, url: str) -> None:
        self.redis = redis
        self.log = EventLog(redis)
        self.queue = Queue(redis)
        overdue = overdue_of(self.log)
        self.hub = Hub(self.log, url, overdue)
        self.executions = RedisExecutions(self.log, self.queue, Registry(redis), self.hub, overdue)

    async def queued(self) -> int:
        return int(await self.redis.zcard(QUEUE))

    async def logs(self) -> list[str]:
        return [key.decode() for key in await self.redis.keys("machpay:{*")]


@pytest.fixture
async def edge(valkey: EmbeddedValkey, valkey_client: Client) -> AsyncIterator[Edge]:
    edge = Edge(valkey_client, valkey.url)
    async with edge.executions.running():
        yield edge


async def test_a_start_whose_request_is_cancelled_is_whole(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, reached = edge.queue.put, asyncio.Event()
    go_on = asyncio.Event()

    async def slow_put(job: Execute) -> bool:
        reached.set()
        await go_on.wait()
        return await put(job)

    monkeypatch.setattr(edge.queue, "put", slow_put)
    request = asyncio.ensure_future(edge.executions.start(REQUEST))
    await reached.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()

    async def queued() -> bool:
        return await edge.queued() == 1

    await eventually(queued, "the job is queued all the same")
    ((name, _),) = await edge.redis.zrange(QUEUE, 0, -1, withscores=True)
    assert await edge.logs() == [log_key(name.decode())]


async def test_a_log_whose_job_could_not_be_queued_ends(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(job: Execute) -> bool:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(edge.queue, "put", refuse)
    with pytest.raises(Unavailable):
        await edge.executions.start(REQUEST)
    (key,) = await edge.logs()
    last = await edge.log.last(key.split("{")[1].split("}")[0])
    assert last is not None
    assert last.terminal


async def test_a_redis_that_hangs_is_unavailable(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.05)
    await edge.redis.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    with pytest.raises(Unavailable):
        await edge.executions.skill("words")
    with pytest.raises(Unavailable):
        await edge.executions.locate("exec_a", "alice", ORIGIN)
    with pytest.raises(Unavailable):
        await edge.executions.start(REQUEST)


@pytest.mark.parametrize("account", ["alice", "bob"])
async def test_a_foreign_execution_is_unknown(edge: Edge, account: str) -> None:
    execution_id = (await edge.executions.start(REQUEST)).execution_id
    if account == "alice":
        assert (await edge.executions.describe(execution_id, account)).status == "queued"
        return
    for ask in (
        edge.executions.describe(execution_id, account),
        edge.executions.locate(execution_id, account, ORIGIN),
        edge.executions.cancel(execution_id, account),
    ):
        with pytest.raises(ApiError) as refused:
            await ask
        assert (refused.value.status, refused.value.code) == (404, "execution_not_found")


async def test_something_else_under_a_logs_key_is_no_execution(edge: Edge) -> None:
    await edge.redis.set(log_key("text"), "x")
    await edge.redis.xadd(log_key("stream"), {"a": "b"})
    await edge.redis.xadd(log_key("terms"), {"e": "start", "d": "{}", "o": "not terms"})
    for name in ("text", "stream", "terms"):
        with pytest.raises(ApiError):
            await edge.executions.describe(name, "alice")


async def test_a_broken_hub_ends_the_process(
    valkey: EmbeddedValkey, valkey_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", signals.append)
    edge = Edge(valkey_client, valkey.url)

    async def explode() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(edge.hub, "run", explode)
    async with edge.executions.running():

        async def told() -> bool:
            return signals == [signal.SIGTERM]

        await eventually(told, "the process is told to stop")


KEYED = msgspec.structs.replace(REQUEST, idempotency_key="k1")


async def test_one_key_is_one_execution_however_often_and_where(
    valkey: EmbeddedValkey, valkey_client: Client, edge: Edge
) -> None:
    other = Edge(valkey_client, valkey.url)
    async with other.executions.running():
        starts = [place.executions.start(KEYED) for place in (edge, other) for _ in range(25)]
        started = await asyncio.gather(*starts)
    assert len({one.execution_id for one in started}) == 1
    assert [one.replayed for one in started].count(False) == 1
    assert await edge.queued() == 1


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(KEYED, input={"n": 2}),
        msgspec.structs.replace(KEYED, skill=SkillInfo(id="other", name="Other")),
    ],
)
async def test_one_key_for_two_things_is_refused(edge: Edge, other: StartRequest) -> None:
    await edge.executions.start(KEYED)
    with pytest.raises(ApiError) as refused:
        await edge.executions.start(other)
    assert (refused.value.status, refused.value.code) == (422, "idempotency_mismatch")
    assert await edge.queued() == 1


async def test_keys_of_two_accounts_have_nothing_to_do_with_each_other(edge: Edge) -> None:
    alice = await edge.executions.start(KEYED)
    bob = await edge.executions.start(msgspec.structs.replace(KEYED, account="bob"))
    assert alice.execution_id != bob.execution_id
    assert not bob.replayed


async def test_a_repeated_start_queues_the_job_that_the_first_one_could_not(edge: Edge) -> None:
    started = await edge.executions.start(KEYED)
    await edge.redis.delete(QUEUE, job_key(started.execution_id))
    again = await edge.executions.start(KEYED)
    assert again == Started(started.execution_id, replayed=True)
    assert await edge.queued() == 1


async def test_a_repeated_start_changes_nothing_of_what_runs(edge: Edge) -> None:
    execution_id = (await edge.executions.start(KEYED)).execution_id
    await edge.log.append(execution_id, Position(1, 2), [("claim", b"{}")], ttl=5000)
    await edge.redis.delete(QUEUE, job_key(execution_id))
    assert (await edge.executions.start(KEYED)).replayed
    assert await edge.queued() == 0
    assert await edge.redis.pttl(log_key(execution_id)) <= 5_000_000


async def test_a_cancelled_execution_ends_at_once_and_once(edge: Edge) -> None:
    execution_id = (await edge.executions.start(KEYED)).execution_id
    await edge.log.append(execution_id, Position(1, 2), [("claim", b"{}"), ("chunk", CHUNK)])
    for _ in range(3):
        await edge.executions.cancel(execution_id, "alice")
    entries = await edge.log.read(execution_id)
    assert [entry.type for entry in entries] == [b"start", b"claim", b"chunk", b"error"]
    assert (await edge.executions.describe(execution_id, "alice")).status == "cancelled"
    with pytest.raises(Fenced):
        await edge.log.append(execution_id, Position(1, 4), [("chunk", CHUNK)])


async def test_cancelling_what_has_ended_changes_nothing(edge: Edge) -> None:
    execution_id = (await edge.executions.start(KEYED)).execution_id
    end = b'{"tokensUsed":1,"costUsd":0,"durationMs":1}'
    await edge.log.append(execution_id, Position(1, 2), [("claim", b"{}"), ("end", end)])
    await edge.executions.cancel(execution_id, "alice")
    assert (await edge.executions.describe(execution_id, "alice")).status == "completed"

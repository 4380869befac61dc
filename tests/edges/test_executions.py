"""Starts at the edge: what a cancelled request, a queue that is away or a broken hub leave behind."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

import shared.log
from edge import reach
from edge.executions import RedisExecutions
from edge.hub import Hub
from edge.readers import Readers
from machpay._options import Options
from machpay._position import ORIGIN, Position
from machpay.serve.callers import Caller
from machpay.serve.executions import (
    ApiError,
    SkillInfo,
    Started,
    StartRequest,
    Unavailable,
)
from machpay.serve.turn import Turn
from ops.valkey import EmbeddedValkey
from shared.jobs import Execute, Queue
from shared.keys import QUEUE, bar_key, job_key, log_key
from shared.ledger import Ledger
from shared.log import EventLog
from shared.presence import Presence
from shared.redis import Client
from shared.refusals import Fenced, LogError
from shared.registry import Registry
from tests.edges.wiring import overdue_of
from tests.waiting import eventually
from tests.wire import check

ALICE, BOB = Caller(account="alice"), Caller(account="bob")
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
        readers = Readers(Presence(redis))
        self.executions = RedisExecutions(
            self.log,
            self.queue,
            Registry(redis),
            self.hub,
            overdue,
            Ledger(redis, self.log),
            readers,
        )

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

    async def slow_put(job: Execute, **_: object) -> bool:
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
    async def refuse(job: Execute, **_: object) -> bool:
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
    monkeypatch.setattr(reach, "ANSWER_WITHIN", 0.05)
    await edge.redis.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    with pytest.raises(Unavailable):
        await edge.executions.skill("words")
    with pytest.raises(Unavailable):
        await edge.executions.locate("exec_a", ALICE, ORIGIN)
    with pytest.raises(Unavailable):
        await edge.executions.start(REQUEST)


async def test_a_foreign_execution_is_unknown_to_all_but_operators(edge: Edge) -> None:
    execution_id = (await edge.executions.start(REQUEST)).execution_id
    for who in (ALICE, Caller(account="ops", operator=True)):
        assert (await edge.executions.describe(execution_id, who)).status == "queued"
    for ask in (
        edge.executions.describe(execution_id, BOB),
        edge.executions.locate(execution_id, BOB, ORIGIN),
        edge.executions.cancel(execution_id, BOB),
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
            await edge.executions.describe(name, ALICE)


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
        await edge.executions.cancel(execution_id, ALICE)
    entries = await edge.log.read(execution_id)
    assert [entry.type for entry in entries] == [b"start", b"claim", b"chunk", b"error"]
    assert (await edge.executions.describe(execution_id, ALICE)).status == "cancelled"
    with pytest.raises(Fenced):
        await edge.log.append(execution_id, Position(1, 4), [("chunk", CHUNK)])


async def test_cancelling_what_has_ended_changes_nothing(edge: Edge) -> None:
    execution_id = (await edge.executions.start(KEYED)).execution_id
    end = b'{"tokensUsed":1,"costUsd":0,"durationMs":1}'
    await edge.log.append(execution_id, Position(1, 2), [("claim", b"{}"), ("end", end)])
    await edge.executions.cancel(execution_id, ALICE)
    assert (await edge.executions.describe(execution_id, ALICE)).status == "completed"


# -- ids that clients choose

CHOSEN = msgspec.structs.replace(REQUEST, chosen_id="mine")


async def refusal(ask: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        await ask
    return refused.value.status, refused.value.code


async def test_a_chosen_id_is_one_execution_however_often_and_where(
    valkey: EmbeddedValkey, valkey_client: Client, edge: Edge
) -> None:
    other = Edge(valkey_client, valkey.url)
    async with other.executions.running():
        starts = [place.executions.start(CHOSEN) for place in (edge, other) for _ in range(25)]
        started = await asyncio.gather(*starts)
    assert {one.execution_id for one in started} == {"mine"}
    assert [one.replayed for one in started].count(False) == 1
    assert await edge.queued() == 1


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(CHOSEN, input={"n": 2}),
        msgspec.structs.replace(CHOSEN, skill=SkillInfo(id="other", name="Other")),
        msgspec.structs.replace(CHOSEN, options=Options(timeout=5)),
        msgspec.structs.replace(CHOSEN, options=Options(cancel_after=5)),
    ],
)
async def test_a_chosen_id_for_two_things_is_refused(edge: Edge, other: StartRequest) -> None:
    await edge.executions.start(CHOSEN)
    assert await refusal(edge.executions.start(other)) == (422, "idempotency_mismatch")
    assert await edge.queued() == 1


@pytest.mark.parametrize("skill", ["words", "other"])
async def test_an_id_of_another_account_is_unknown(edge: Edge, skill: str) -> None:
    await edge.executions.start(CHOSEN)
    info = SkillInfo(id=skill, name=skill)
    bobs = msgspec.structs.replace(CHOSEN, account="bob", skill=info)
    unknown = (404, "execution_not_found")
    assert await refusal(edge.executions.start(bobs)) == unknown
    assert await refusal(edge.executions.cancel("mine", BOB)) == unknown
    assert (await edge.executions.describe("mine", ALICE)).status == "queued"
    assert await edge.queued() == 1


async def test_a_start_keeps_its_options_with_its_terms(edge: Edge) -> None:
    async def terms(execution_id: str, options: Options) -> tuple[float, float | None]:
        asked = msgspec.structs.replace(CHOSEN, chosen_id=execution_id, options=options)
        await edge.executions.start(asked)
        summary = await edge.log.describe(execution_id)
        assert summary is not None
        ((_, score),) = await edge.redis.zrange(QUEUE, -1, -1, withscores=True)
        assert score > 0
        return summary.terms.timeout, summary.terms.cancel_after

    limit = REQUEST.skill.timeout
    assert await terms("a", Options()) == (limit, None)
    assert await terms("b", Options(timeout=5, cancel_after=30)) == (5, 30)
    assert await terms("c", Options(timeout=2 * limit)) == (limit, None)


# -- a stop that comes first


async def test_a_cancellation_that_comes_before_its_start_wins(edge: Edge) -> None:
    for _ in range(2):
        await edge.executions.cancel("mine", ALICE)
    assert await edge.executions.start(CHOSEN) == Started("mine")
    assert await edge.executions.start(CHOSEN) == Started("mine", replayed=True)
    info = await edge.executions.describe("mine", ALICE)
    assert (info.status, info.error) == (
        "cancelled",
        {"code": "cancelled", "message": "The execution was cancelled."},
    )
    frames = b"".join([block async for block in edge.executions.read("mine", ORIGIN, Turn())])
    assert [event.event for event in check(frames)] == ["start", "error"]
    assert await edge.queued() == 0
    assert not await edge.redis.exists(job_key("mine"))
    (ledger,) = await edge.redis.keys("machpay:ledger:alice:*")
    assert await edge.redis.execute_command("HKEYS", ledger) == [b"mine"]
    await edge.executions.cancel("mine", ALICE)
    assert 0 < await edge.redis.pttl(bar_key("mine", "alice")) <= 24 * 3600 * 1000


async def test_a_cancellation_bars_nobody_elses_start(edge: Edge) -> None:
    await edge.executions.cancel("mine", BOB)
    await edge.executions.start(CHOSEN)
    assert (await edge.executions.describe("mine", ALICE)).status == "queued"
    assert await refusal(edge.executions.cancel("mine", BOB)) == (404, "execution_not_found")


async def test_who_cancels_made_up_ids_for_ever_fills_nothing_and_loses_no_cancel(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.log, "MOST_BARS", 3)
    await edge.executions.start(CHOSEN)
    for name in ("a", "b", "c", "a"):
        await edge.executions.cancel(name, ALICE)
    for name in ("d", "e"):
        with pytest.raises(ApiError) as refused:
            await edge.executions.cancel(name, ALICE)
        assert (refused.value.status, refused.value.code) == (429, "too_many_cancels")
        assert 3500 < (refused.value.retry_after or 0) <= 3600
    assert len(await edge.redis.keys("*:bar:alice")) == 3
    # What is barred already, or there, is cancelled all the same; and so is what is another account's.
    await edge.executions.cancel("b", ALICE)
    await edge.executions.cancel("mine", ALICE)
    assert (await edge.executions.describe("mine", ALICE)).status == "cancelled"
    await edge.executions.cancel("d", BOB)
    assert 0 < await edge.redis.pttl("machpay:bars:alice") <= 3600 * 1000


@pytest.mark.parametrize("name", ["exec_a", "exec_", "a.b", "a" * 65, ""])
async def test_an_id_that_nobody_can_choose_is_not_barred(edge: Edge, name: str) -> None:
    assert await refusal(edge.executions.cancel(name, ALICE)) == (404, "execution_not_found")
    assert await edge.logs() == []


async def test_something_else_under_a_logs_key_is_not_cancelled(edge: Edge) -> None:
    await edge.redis.set(log_key("text"), "x")
    assert await refusal(edge.executions.cancel("text", ALICE)) == (404, "execution_not_found")


class Runner:
    """A worker as far as the log goes: it claims what is queued, and writes until it is refused."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.claimed: set[str] = set()

    async def run(self, execution_id: str) -> None:
        """Run one execution, once its job is queued, to the end of its log."""
        while not await self._edge.redis.exists(job_key(execution_id)):
            last = await self._edge.log.last(execution_id)
            if last is not None and last.terminal:
                return
        seq, batch = 2, ("claim", b"{}")
        while True:
            try:
                await self._edge.log.append(execution_id, Position(1, seq), [batch])
            except LogError:
                return
            self.claimed.add(execution_id)
            seq, batch = seq + 1, ("chunk", CHUNK)


async def later(turns: int, act: Callable[[], Awaitable[object]]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await act()


async def test_whatever_comes_first_a_start_and_a_stop_are_one_cancelled_execution(
    valkey: EmbeddedValkey, valkey_client: Client, edge: Edge
) -> None:
    """200 random orders of starts and stops, at two edges, while a worker takes what is queued."""
    other = Edge(valkey_client, valkey.url)
    runner = Runner(edge)
    chance = random.Random(4)
    barred = 0
    async with other.executions.running():
        for number in range(200):
            name = f"race-{number}"
            request = msgspec.structs.replace(CHOSEN, chosen_id=name)
            async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
                for place in chance.sample([edge, other], chance.choice([1, 2])):
                    start = partial(place.executions.start, request)
                    tasks.create_task(later(chance.randrange(30), start))
                for place in chance.sample([edge, other], chance.choice([1, 2])):
                    stop = partial(place.executions.cancel, name, ALICE)
                    tasks.create_task(later(chance.randrange(30), stop))
                tasks.create_task(runner.run(name))
            entries = await edge.log.read(name)
            assert [entry.type for entry in entries if entry.terminal] == [b"error"], entries
            assert (
                entries[-1].data == b'{"code":"cancelled","message":"The execution was cancelled."}'
            )
            assert [entry.type for entry in entries].count(b"start") == 1
            barred += entries[-1].position == (0, 2)
            if entries[-1].position == (0, 2):
                assert not await edge.redis.exists(job_key(name))
    # All of it was seen: stops before the start, before the claim, and while it ran.
    assert 0 < barred < 200
    assert 0 < len(runner.claimed) < 200


TAKES: dict[str, object] = {"type": "object", "properties": {"n": {"type": "string"}}}


def taking(request: StartRequest, schema: dict[str, object] = TAKES) -> StartRequest:
    """The same start, of a skill that has said since that it takes something else."""
    skill = msgspec.structs.replace(request.skill, input_schema=schema)
    return msgspec.structs.replace(request, skill=skill)


async def test_wrong_input_leaves_nothing_behind(edge: Edge) -> None:
    for request in (REQUEST, KEYED, CHOSEN):
        refused = await refusal(edge.executions.start(taking(request)))
        assert refused == (422, "invalid_input")
    assert (await edge.queued(), await edge.logs()) == (0, [])


@pytest.mark.parametrize("request_", [KEYED, CHOSEN], ids=["key", "id"])
async def test_a_start_that_was_taken_is_found_whatever_the_skill_takes_now(
    edge: Edge, request_: StartRequest
) -> None:
    first = await edge.executions.start(request_)
    again = await edge.executions.start(taking(request_))
    assert (again.execution_id, again.replayed) == (first.execution_id, True)
    other = msgspec.structs.replace(taking(request_), input={"n": 2})
    assert await refusal(edge.executions.start(other)) == (422, "idempotency_mismatch")
    assert await edge.queued() == 1


async def test_what_an_edge_cannot_check_is_refused_unless_it_was_taken_before(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker of another release announced a schema that this edge can't compute."""
    beyond: dict[str, object] = {
        "type": "object",
        "properties": {"n": {"type": "integer", "pattern": "(?<!a)b"}},
    }
    first = await edge.executions.start(CHOSEN)
    assert (await edge.executions.start(taking(CHOSEN, beyond))).execution_id == first.execution_id
    for request in (REQUEST, KEYED):
        with pytest.raises(ApiError) as refused:
            await edge.executions.start(taking(request, beyond))
        assert (refused.value.status, refused.value.code) == (503, "unavailable")
        assert refused.value.retry_after
    assert await edge.queued() == 1
    assert "a skill's input schema can't be used" in caplog.text

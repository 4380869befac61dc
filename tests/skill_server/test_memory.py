"""Executions in memory: limits, forgetting, stopping."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from machpay._position import ORIGIN, Cursor, Position
from machpay._run import run
from machpay.events import ChunkEvent
from machpay.serve import memory
from machpay.serve.callers import Caller
from machpay.serve.executions import ApiError, Executions, Place, StartRequest
from machpay.serve.log import Log
from machpay.serve.memory import MemoryExecutions
from machpay.serve.turn import Turn
from machpay.skill import Skill, SkillInput
from tests.skill_server.skills import Gates
from tests.waiting import until
from tests.wire import check, check_prefix

A = Caller(account="a")


async def start(executions: Executions, skill_id: str, **input: Any) -> str:
    skill = await executions.skill(skill_id)
    assert skill is not None
    started = await executions.start(StartRequest(skill=skill, input=input, account="a"))
    return started.execution_id


async def whole(executions: Executions, execution_id: str, after: Position = ORIGIN) -> bytes:
    return b"".join([block async for block in executions.read(execution_id, after, Turn())])


async def code_of(executions: Executions, execution_id: str) -> str | None:
    info = await executions.describe(execution_id, A)
    return None if info.error is None else info.error["code"]


async def test_too_many_running_are_refused_until_one_ends(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills, max_running=2) as executions:
        first = await start(executions, "gated", gate="1")
        await start(executions, "gated", gate="2")
        with pytest.raises(ApiError) as caught:
            await start(executions, "echo")
        assert (caught.value.status, caught.value.code) == (503, "overloaded")
        assert caught.value.retry_after == 1
        gates.gate("1").set()
        check(await whole(executions, first))
        check(await whole(executions, await start(executions, "echo")))


async def test_the_oldest_finished_executions_are_forgotten_first(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills, max_kept=2) as executions:
        ids = []
        for _ in range(3):
            ids.append(await start(executions, "echo"))
            await whole(executions, ids[-1])
        with pytest.raises(ApiError) as caught:
            await executions.describe(ids[0], A)
        assert caught.value.status == 404
        for execution_id in ids[1:]:
            assert (await executions.describe(execution_id, A)).status == "completed"


async def test_finished_executions_are_forgotten_after_the_retention(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("machpay.serve.memory.monotonic", lambda: now)
    async with MemoryExecutions(gates.skills, retention=60) as executions:
        finished = await start(executions, "echo")
        running = await start(executions, "gated", gate="g")
        await whole(executions, finished)
        now += 59
        assert (await executions.describe(finished, A)).status == "completed"
        now += 2
        with pytest.raises(ApiError):
            await executions.locate(finished, A, ORIGIN)
        assert (await executions.describe(running, A)).status == "running"
    assert executions._size > 0


async def test_memory_is_bounded_the_finished_go_first_then_the_one_that_grows(
    caplog: pytest.LogCaptureFixture, gates: Gates
) -> None:
    async with MemoryExecutions(gates.skills, max_bytes=200_000) as executions:
        first = await start(executions, "large", chunks=1, size=50_000)
        check(await whole(executions, first))
        second = await start(executions, "large", chunks=1, size=80_000)
        events = check(await whole(executions, second))
        assert events[-1].event == "end"
        with pytest.raises(ApiError):
            await executions.describe(first, A)
        third = await start(executions, "large", chunks=100, size=50_000)
        events = check(await whole(executions, third))
        assert events[-1].data["code"] == "overloaded"
        assert "too large" in caplog.text
        assert executions._size < 300_000
        check(await whole(executions, await start(executions, "echo")))
        for log in list(executions._finished.values()):
            log.ended_at = -1e9
        executions._forget()
        assert executions._size == 0


async def test_stopping_ends_every_execution_even_one_that_has_not_begun(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        begun = await start(executions, "gated", gate="never")
        await until(lambda: gates.runs == 1, "it runs")
        unbegun = await start(executions, "echo", texts=["a"])
        executions.stop()
        for execution_id in (begun, unbegun):
            events = check(await whole(executions, execution_id))
            assert events[-1].data == {
                "code": "worker_lost",
                "message": "The skill server was shut down.",
                "retryable": True,
            }
        with pytest.raises(ApiError) as caught:
            await start(executions, "echo")
        assert (caught.value.status, caught.value.code) == (503, "draining")
        assert gates.runs == 1


async def test_leaving_the_context_stops_all_and_leaves_no_task(gates: Gates) -> None:
    before = asyncio.all_tasks()
    async with MemoryExecutions(gates.skills) as executions:
        execution_id = await start(executions, "endless")
        await until(lambda: executions._running[execution_id].texts, "it runs")
    assert asyncio.all_tasks() == before
    assert await code_of(executions, execution_id) == "worker_lost"


async def test_a_fault_of_ours_ends_one_execution_and_no_other(
    gates: Gates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(skill: Skill, *arguments: Any, **limits: Any) -> Any:
        if skill.id == "echo":
            raise RuntimeError("secret detail")
        return await run(skill, *arguments, **limits)

    monkeypatch.setattr("machpay.serve.memory.run", broken)
    async with MemoryExecutions(gates.skills) as executions:
        other = await start(executions, "gated", gate="g")
        events = check(await whole(executions, await start(executions, "echo")))
        assert events[-1].data["code"] == "internal"
        assert "secret detail" in caplog.text
        gates.gate("g").set()
        assert check(await whole(executions, other))[-1].event == "end"


async def test_readers_share_the_log_and_each_sees_all_of_it(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        execution_id = await start(executions, "gated", gate="g")
        readers = [asyncio.create_task(whole(executions, execution_id)) for _ in range(20)]
        await until(lambda: executions._running[execution_id].texts, "it runs")
        gates.gate("g").set()
        bodies = await asyncio.gather(*readers)
        assert len(set(bodies)) == 1
        assert [event.event for event in check(bodies[0])] == ["start", "chunk", "chunk", "end"]


async def test_a_large_log_is_read_in_blocks_of_bounded_size(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        execution_id = await start(executions, "large", chunks=40, size=50_000)
        await whole(executions, execution_id)
        blocks = [block async for block in executions.read(execution_id, ORIGIN, Turn())]
        assert max(map(len, blocks)) < memory.JOIN_BYTES + 51_000
        assert len(check(b"".join(blocks))) == 42
        assert all(check_prefix(block) for block in blocks)


async def test_where_a_reader_stands(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        execution_id = await start(executions, "gated", gate="g")
        await until(lambda: executions._running[execution_id].texts, "a chunk")

        async def place(attempt: int, seq: int) -> Place:
            return await executions.locate(execution_id, A, Position(attempt, seq))

        assert await place(1, 3) is Place.WITHIN
        assert await place(1, 4) is Place.BEYOND
        gates.gate("g").set()
        last = check(await whole(executions, execution_id))[-1].id
        assert Cursor.parse(last).position == (1, 5)
        assert await place(0, 0) is Place.WITHIN
        assert await place(1, 4) is Place.WITHIN
        assert await place(1, 5) is Place.AFTER_END
        assert await place(1, 6) is Place.BEYOND
        assert await place(2, 1) is Place.BEYOND


def handler_of(kind: str) -> Callable[[SkillInput], Any]:
    def sync(input: SkillInput) -> Iterator[str]:
        yield f"{input.data['n']} {input.execution_id} {input.attempt} {input.resume}"

    async def asynchronous(input: SkillInput) -> AsyncIterator[str]:
        yield f"{input.data['n']} {input.execution_id} {input.attempt} {input.resume}"

    return sync if kind == "sync" else asynchronous


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_a_handler_is_told(kind: str) -> None:
    skill = Skill(id="told")
    skill.stream_handler(handler_of(kind))
    async with MemoryExecutions([skill]) as executions:
        execution_id = await start(executions, "told", n=5)
        await whole(executions, execution_id)
        assert (await executions.describe(execution_id, A)).text == f"5 {execution_id} 1 None"


async def test_the_price_is_exact(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    skill = Skill(id="priced", pricing={"base_usd": 0.1, "per_second_usd": 0.2})
    now = 1000.0
    for module in ("memory", "log"):
        monkeypatch.setattr(f"machpay.serve.{module}.monotonic", lambda: now)

    @skill.stream_handler
    async def handler(input: SkillInput) -> AsyncIterator[str]:
        nonlocal now
        now += 1.5
        yield "x"

    async with MemoryExecutions([skill]) as executions:
        body = await whole(executions, await start(executions, "priced"))
        assert b'{"tokensUsed":1,"costUsd":0.4,"durationMs":1500}' in body


def test_skills_that_cannot_be_served_are_refused() -> None:
    with pytest.raises(ValueError, match="no handler"):
        MemoryExecutions([Skill(id="x")])
    skill = Skill(id="x")
    skill.stream_handler(lambda input: "x")
    with pytest.raises(ValueError, match="two skills"):
        MemoryExecutions([skill, skill])


def test_a_chunk_is_accounted_for_in_full() -> None:
    log = Log("exec_a", "s", "a")
    assert log.append("chunk", ChunkEvent(text="x" * 1000, index=0, timestamp=1)) > 2000

"""One execution, from a job to its terminal event, and every way in which it can be stopped."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from arq import Retry
from redis.exceptions import ConnectionError as RedisConnectionError

from machpay import Skill, SkillError, SkillInput
from machpay._position import Position
from machpay.pricing import Pricing
from machpay.serve.request_ids import WithRequestId, request_id
from shared.entry import Entry
from shared.jobs import Execute
from shared.ledger import Ledger
from shared.log import EventLog
from shared.overdue import end_if_unclaimed
from shared.presence import Presence
from shared.redis import Client
from shared.refusals import LogError
from shared.terms import Terms, decode_terms
from tests.rollback import roll_back
from tests.waiting import eventually
from workers.execute import Executor
from workers.leases import Leases

words = Skill(id="words", price_usd=0.01)


@words.stream_handler
def say(input: SkillInput) -> Iterator[str]:
    for word in input.data["words"]:
        yield f"{word} "


broken = Skill(id="broken")


@broken.stream_handler
def fail(input: SkillInput) -> Iterator[str]:
    yield "so far "
    if input.data.get("polite"):
        raise SkillError("too_long", "The prompt is too long.", retryable=False)
    raise RuntimeError("secret detail")


endless = Skill(id="endless")


@endless.stream_handler
async def go_on(input: SkillInput) -> AsyncIterator[str]:
    yield "first "
    await asyncio.sleep(3600)
    yield "never"


SKILLS = {skill.id: skill for skill in (words, broken, endless)}


@pytest.fixture
def log(redis: Client) -> EventLog:
    return EventLog(redis)


@pytest.fixture
def executor(log: EventLog) -> Executor:
    return executor_of(log, SKILLS)


def executor_of(log: EventLog, skills: dict[str, Skill]) -> Executor:
    redis = log._redis
    return Executor(log, Ledger(redis, log), Presence(redis), skills, Leases(redis, 10, token="w1"))


async def start(
    log: EventLog, skill_id: str, created_at: int | None = None, **data: object
) -> dict[str, object]:
    terms = Terms(
        owner="alice",
        skill_id=skill_id,
        created_at=created_at or time.time_ns() // 1_000_000 + 1_000_000,  # attempts: 1, 2, 3
        pricing=Pricing.of({"base_usd": "0.001", "per_token_usd": "0.0001"}),
        timeout=60,
    )
    job = Execute.of("e", dict(data), terms)
    await log.start("e", b"{}", job.terms, ttl=100)
    fields: dict[str, object] = msgspec.to_builtins(job, builtin_types=(bytes,))
    return fields


async def test_what_a_worker_logs_of_it_has_the_id_of_its_request(
    log: EventLog, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(WithRequestId())
    for given, tag in (("a-1", "[a-1] "), ("a\nb", ""), (b"a", ""), (None, "")):
        caplog.clear()
        job = await start(log, "broken")
        assert "request_id" not in job  # as in jobs of older releases
        await executor.execute({}, **({**job, "request_id": given} if given else job))
        [failed] = [record for record in caplog.records if record.exc_info]
        assert (getattr(failed, "request", None), request_id()) == (tag, "")
        assert (await last(log)).type == b"error"
        await log._redis.flushdb()


async def last(log: EventLog) -> Entry:
    entry = await log.last("e")
    assert entry is not None
    return entry


async def test_what_a_handler_yields_is_what_the_log_has(log: EventLog, executor: Executor) -> None:
    await executor.execute({}, **await start(log, "words", words=["a", "b", "c"]))
    entries = await log.read("e")
    assert [entry.type for entry in entries] == [b"start", b"claim", *[b"chunk"] * 3, b"end"]
    chunks = [msgspec.json.decode(entry.data) for entry in entries if entry.type == b"chunk"]
    assert [(chunk["text"], chunk["index"]) for chunk in chunks] == [
        ("a ", 0),
        ("b ", 1),
        ("c ", 2),
    ]
    end = msgspec.json.decode(entries[-1].data)
    assert end["tokensUsed"] == 2
    # The price of the start counts, whatever the skill costs by now.
    assert end["costUsd"] == 0.0012


async def test_an_authors_error_reaches_the_client(log: EventLog, executor: Executor) -> None:
    await executor.execute({}, **await start(log, "broken", polite=True))
    assert msgspec.json.decode((await last(log)).data) == {
        "code": "too_long",
        "message": "The prompt is too long.",
    }


async def test_any_other_error_is_neutral_to_the_client_and_whole_in_the_log(
    log: EventLog, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    await executor.execute({}, **await start(log, "broken"))
    error = (await last(log)).data
    assert b'"skill_error"' in error
    assert b"secret" not in error
    assert "secret detail" in caplog.text


async def test_a_fenced_worker_stops_by_itself_and_leaves_the_job(log: EventLog) -> None:
    closed = asyncio.Event()
    busy = Skill(id="busy")

    @busy.stream_handler
    async def go_on(input: SkillInput) -> AsyncIterator[str]:
        try:
            while True:
                yield "more "
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    fields = await start(log, "busy")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(expect_retry(executor_of(log, {"busy": busy}), fields))

        async def delivered() -> bool:
            return (await last(log)).type == b"chunk"

        await eventually(delivered, "the first chunk")
        while not running.done():
            top = (await last(log)).position
            with contextlib.suppress(LogError):
                await log.append("e", Position(2, top.seq + 1), [("claim", b'"w2"')])
            await asyncio.sleep(0.001)
    assert closed.is_set()
    assert (await last(log)).type == b"claim"


async def expect_retry(executor: Executor, fields: dict[str, object]) -> None:
    """Run a job that is not done when it returns: forgotten now, its stream might never end."""
    async with asyncio.timeout(20):
        with pytest.raises(Retry):
            await executor.execute({}, **fields)


async def test_a_log_that_can_not_be_reached_leaves_the_job(
    log: EventLog, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = await start(log, "words", words=["a"])

    async def refuse(*_: object, **__: object) -> None:
        raise RedisConnectionError("refused")

    with monkeypatch.context() as away:
        away.setattr(log, "_write", refuse)
        away.setattr("workers.claim.RUNNING_MARGIN", 0.05)  # so long is it waited for
        await expect_retry(executor, fields)
        # A damaged job can't be concluded either: it must not be forgotten.
        await expect_retry(executor, {**fields, "input": b"{"})
    await executor.execute({}, **fields)
    assert (await last(log)).type == b"end"


async def test_a_log_that_lost_its_tail_ends_with_log_lost(
    log: EventLog, redis: Client, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()
    slow = Skill(id="words")

    @slow.stream_handler
    async def wait(input: SkillInput) -> AsyncIterator[str]:
        yield "one "
        yield "two "
        await release.wait()
        yield "three "

    fields = await start(log, "words")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(executor_of(log, {"words": slow}).execute({}, **fields))

        async def delivered() -> bool:
            return (await last(log)).position == Position(1, 4)

        await eventually(delivered, "two chunks")
        await roll_back(redis, "e", to=3)
        release.set()
    entry = await last(log)
    assert (entry.id, entry.type) == (b"2-4", b"error")
    assert b'"log_lost"' in entry.data


async def test_a_job_of_an_ended_execution_is_simply_done(
    log: EventLog, executor: Executor
) -> None:
    fields = await start(log, "words", words=["a"])
    await executor.execute({}, **fields)
    before = await log.read("e")
    await executor.execute({}, **fields)
    assert await log.read("e") == before


async def test_a_skill_that_this_worker_has_not_is_left_to_others(
    log: EventLog, executor: Executor
) -> None:
    fields = await start(log, "elsewhere")
    with pytest.raises(Retry):
        await executor.execute({}, **fields)
    assert (await last(log)).type == b"start"


async def test_a_job_that_waited_too_long_is_not_run(log: EventLog, executor: Executor) -> None:
    fields = await start(log, "words", words=["a"], created_at=1)
    await executor.execute({}, **fields)
    entries = await log.read("e")
    assert [entry.type for entry in entries] == [b"start", b"error"]
    assert b'"queue_timeout"' in entries[-1].data


async def test_a_claimed_execution_is_never_overdue(log: EventLog) -> None:
    fields = await start(log, "words", words=["a"], created_at=1)
    terms = decode_terms(fields["terms"])  # type: ignore[arg-type]
    await log.append("e", Position(1, 2), [("claim", b"{}")])
    assert not await end_if_unclaimed(log, "e", terms)
    assert (await last(log)).type == b"claim"


async def test_a_damaged_job_ends_its_stream(log: EventLog, executor: Executor) -> None:
    fields = await start(log, "words")
    await executor.execute({}, **{**fields, "input": b"{"})
    assert b'"internal"' in (await last(log)).data


async def test_cancelling_the_job_stops_the_handler_and_leaves_the_log_open(
    log: EventLog, executor: Executor
) -> None:
    fields = await start(log, "endless")
    running = asyncio.ensure_future(executor.execute({}, **fields))

    async def delivered() -> bool:
        return (await last(log)).type == b"chunk"

    await eventually(delivered, "the first chunk")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await last(log)).type == b"chunk"


async def running(executor: Executor, log: EventLog) -> "asyncio.Task[None]":
    """Begin an execution that goes on until it is stopped; returns once it has delivered."""
    fields = await start(log, "endless")
    task = asyncio.ensure_future(executor.execute({}, **fields))

    async def delivered() -> bool:
        return (await last(log)).type == b"chunk"

    await eventually(delivered, "the first chunk")
    return task


async def test_a_stop_ends_a_handler_that_says_nothing(log: EventLog, executor: Executor) -> None:
    task = await running(executor, log)
    await log.conclude("e", b'{"code":"cancelled","message":""}')
    executor.stop("e")
    async with asyncio.timeout(20):
        await task
    (key,) = await log._redis.keys("machpay:ledger:alice:*")
    assert await log._redis.execute_command("HKEYS", key) == [b"e"]


async def test_a_stop_for_what_has_not_ended_leaves_the_job(
    log: EventLog, executor: Executor
) -> None:
    task = await running(executor, log)
    executor.stop("e")
    async with asyncio.timeout(20):
        with pytest.raises(Retry):
            await task


async def test_a_stop_between_the_claim_and_the_handler_is_not_lost(
    log: EventLog, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = await start(log, "endless")
    append = log.append

    async def append_and_stop(execution_id: str, *arguments: object, **options: object) -> None:
        await append(execution_id, *arguments, **options)  # type: ignore[arg-type]
        await log.conclude(execution_id, b'{"code":"cancelled","message":""}')
        executor.stop(execution_id)  # before the claim's answer is taken

    monkeypatch.setattr(log, "append", append_and_stop)
    async with asyncio.timeout(20):
        await executor.execute({}, **fields)
    assert [entry.type for entry in await log.read("e")] == [b"start", b"claim", b"error"]


@pytest.mark.parametrize("state", ["ended", "another's"])
async def test_a_job_that_the_queue_forgot_is_stopped_if_its_log_says_so(
    log: EventLog, executor: Executor, state: str
) -> None:
    task = await running(executor, log)
    top = (await last(log)).position
    if state == "ended":
        await log.conclude("e", b'{"code":"cancelled","message":""}')
    else:
        await log.append("e", Position(top.attempt + 1, top.seq + 1), [("claim", b"{}")])
    await executor.look("e")
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert (task.exception() is None) == (state == "ended")


async def test_a_job_that_the_queue_forgot_goes_on_if_its_log_does(log: EventLog) -> None:
    go_on = asyncio.Event()
    patient = Skill(id="patient")

    @patient.stream_handler
    async def wait(input: SkillInput) -> AsyncIterator[str]:
        yield "one "
        await go_on.wait()
        yield "two "

    executor = executor_of(log, {"patient": patient})
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(executor.execute({}, **await start(log, "patient")))

        async def delivered() -> bool:
            return (await last(log)).type == b"chunk"

        await eventually(delivered, "the first chunk")
        await executor.look("e")
        go_on.set()
    assert [entry.type for entry in await log.read("e")][-3:] == [b"chunk", b"chunk", b"end"]


async def test_a_shutdown_hands_over_with_a_note(log: EventLog, executor: Executor) -> None:
    task = await running(executor, log)
    executor.shut_down()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await last(log)).type == b"handover"


async def test_what_was_continued_counts_on(log: EventLog) -> None:
    goes_on = Skill(id="goes-on", on_interrupt="continue", max_output_bytes=8)

    @goes_on.stream_handler
    def say(input: SkillInput) -> Iterator[str]:
        resume = input.resume
        assert resume is not None
        yield f"{resume.text}{resume.chunks}"
        yield "over"

    fields = await start(log, "goes-on")
    payload = b'{"text":"abcd","index":0,"timestamp":1}'
    await log.append("e", Position(1, 2), [("claim", b'{"worker":"w","at":1}'), ("chunk", payload)])
    terms = decode_terms(fields["terms"])  # type: ignore[arg-type]
    long = msgspec.structs.replace(terms, timeout=1e10)
    job = Execute.of("e", {}, long)
    executor = executor_of(log, {"goes-on": goes_on})
    await executor.execute({}, **msgspec.to_builtins(job, builtin_types=(bytes,)))
    entries = await log.read("e")
    chunks = [msgspec.json.decode(entry.data) for entry in entries if entry.type == b"chunk"]
    # "abcd" and "abcd1" are 9 bytes: the second is over the limit already.
    assert [chunk["text"] for chunk in chunks] == ["abcd"]
    assert b"output_limit" in entries[-1].data

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from machpay import _iterate
from machpay._buffer import MAX_CHARACTERS, MAX_ITEMS, Buffer, HandlerFailed
from machpay._iterate import Batches
from machpay.skill import SkillInput
from tests.waiting import until

INPUT = SkillInput({}, execution_id="exec_test")


def same(output: object) -> object:
    return output


async def collect(handler: Any, accept: Callable[[object], object], into: list[object]) -> None:
    async with Batches(handler, INPUT, accept) as batches:
        async for batch in batches:
            assert batch, "a batch holds at least one item"
            into.extend(batch)


async def outputs_of(handler: Any) -> list[object]:
    outputs: list[object] = []
    await collect(handler, same, outputs)
    return outputs


def sync_generator(input: SkillInput) -> Iterator[str]:
    yield "a"
    yield "b"


async def async_generator(input: SkillInput) -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0)
    yield "b"


async def returns(value: Any) -> Any:
    return value


async def coroutine_function(input: SkillInput) -> str:
    return "ab"


async def coroutine_function_of_a_generator(input: SkillInput) -> Iterator[str]:
    return sync_generator(input)


def calling(function: Any) -> Any:
    """A decorator's usual wrapper: nothing about it tells what it returns."""
    return lambda input: function(input)  # noqa: PLW0108


class AsyncCallable:
    async def __call__(self, input: SkillInput) -> AsyncIterator[str]:
        yield "a"
        yield "b"


def takes_two(extra: object, input: SkillInput) -> Iterator[str]:
    yield "a"
    yield "b"


HANDLERS: dict[str, tuple[Any, list[object]]] = {
    "sync generator function": (sync_generator, ["a", "b"]),
    "async generator function": (async_generator, ["a", "b"]),
    "plain function": (lambda input: "ab", ["ab"]),
    "plain function, None": (lambda input: None, []),
    "plain function, a str is one output": (lambda input: "abc", ["abc"]),
    "plain function, bytes are one output": (lambda input: b"abc", [b"abc"]),
    "plain function, a dict is one output": (lambda input: {"a": 1}, [{"a": 1}]),
    "plain function, generator": (calling(sync_generator), ["a", "b"]),
    "plain function, list": (lambda input: ["a", "b"], ["a", "b"]),
    "plain function, iterator": (lambda input: iter(["a", "b"]), ["a", "b"]),
    "plain function, async generator": (calling(async_generator), ["a", "b"]),
    "plain function, coroutine": (lambda input: returns("ab"), ["ab"]),
    "coroutine function": (coroutine_function, ["ab"]),
    "coroutine function, generator": (coroutine_function_of_a_generator, ["a", "b"]),
    "coroutine, None": (lambda input: returns(None), []),
    "coroutine, generator": (lambda input: returns(sync_generator(input)), ["a", "b"]),
    "coroutine, async generator": (lambda input: returns(async_generator(input)), ["a", "b"]),
    "coroutine, coroutine": (lambda input: returns(returns("ab")), ["ab"]),
    "async callable object": (AsyncCallable(), ["a", "b"]),
    "partial": (functools.partial(takes_two, 1), ["a", "b"]),
    "bound method": (AsyncCallable().__call__, ["a", "b"]),
}


@pytest.mark.parametrize("name", HANDLERS)
async def test_every_kind_of_handler_is_one_iterator(name: str) -> None:
    handler, expected = HANDLERS[name]
    assert await outputs_of(handler) == expected


async def test_order_survives_the_hand_off_between_threads() -> None:
    def handler(input: SkillInput) -> Iterator[str]:
        for number in range(10_000):
            yield str(number)

    assert await outputs_of(handler) == [str(number) for number in range(10_000)]


async def test_sync_code_runs_in_a_thread_of_its_own_with_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("from the caller")

    def handler(input: SkillInput) -> Iterator[object]:
        yield (variable.get(), threading.current_thread())

    value: object
    thread: threading.Thread
    value, thread = (await outputs_of(handler))[0]  # type: ignore[misc]
    assert value == "from the caller"
    assert thread is not threading.current_thread()
    assert thread.daemon


class Ahead:
    """Counts how far a handler is ahead of its reader."""

    def __init__(self, item: str) -> None:
        self.item = item
        self.produced = 0

    def sync(self, input: SkillInput) -> Iterator[str]:
        for _ in range(1_000):
            self.produced += 1
            yield self.item

    async def hot(self, input: SkillInput) -> AsyncIterator[str]:
        for _ in range(1_000):
            self.produced += 1
            yield self.item


@pytest.mark.parametrize("kind", ["sync", "hot"])
@pytest.mark.parametrize(
    ("item", "most"), [("x", MAX_ITEMS), ("x" * (MAX_CHARACTERS // 4), 4)], ids=["items", "text"]
)
async def test_a_producer_that_is_ahead_waits(kind: str, item: str, most: int) -> None:
    ahead = Ahead(item)
    taken = 0
    async with Batches(getattr(ahead, kind), INPUT, same) as batches:
        async for batch in batches:
            assert len(batch) <= most
            taken += len(batch)
            # It fills the buffer behind our back, and stops there.
            await until(lambda: ahead.produced >= min(taken + most, 1_000), "the buffer is full")  # noqa: B023
            for _ in range(20):
                await asyncio.sleep(0)
            assert ahead.produced <= taken + most
    assert taken == 1_000


async def test_a_sync_generator_is_closed_in_its_own_thread_at_its_next_yield() -> None:
    seen: list[threading.Thread] = []
    go_on = threading.Event()

    def handler(input: SkillInput) -> Iterator[str]:
        seen.append(threading.current_thread())
        yield "a"
        go_on.wait(10)
        try:
            yield "b"
        except GeneratorExit:
            seen.append(threading.current_thread())
            raise
        pytest.fail("it went on")

    async with Batches(handler, INPUT, same) as batches:
        assert await anext(batches) == ["a"]
        asyncio.get_running_loop().call_soon(go_on.set)
    await until(lambda: len(seen) == 2, "GeneratorExit")
    assert seen[0] is seen[1]


async def test_a_sync_generator_that_waits_for_room_is_closed_at_once() -> None:
    closed = threading.Event()

    def handler(input: SkillInput) -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    async with Batches(handler, INPUT, same) as batches:
        await anext(batches)
        buffer = batches._buffer
        await until(lambda: len(buffer._items) == MAX_ITEMS, "it waits for room")
    assert closed.is_set()


async def test_async_code_sees_the_cancellation_at_its_await() -> None:
    seen: list[type[BaseException]] = []

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            seen.append(type(error))
            raise

    async with Batches(handler, INPUT, same) as batches:
        assert await anext(batches) == ["a"]
    assert seen == [asyncio.CancelledError]


async def test_an_async_generator_that_waits_for_room_is_closed_at_its_yield() -> None:
    seen: list[type[BaseException]] = []

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        except BaseException as error:
            seen.append(type(error))
            raise

    async with Batches(handler, INPUT, same) as batches:
        await anext(batches)
    assert seen == [GeneratorExit]


async def test_cancelling_the_reader_stops_the_handler() -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        yield "never"

    task = asyncio.create_task(outputs_of(handler))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()


async def test_a_thread_that_is_stuck_is_abandoned_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release, ended = threading.Event(), threading.Event()

    def handler(input: SkillInput) -> Iterator[str]:
        yield "a"
        release.wait(30)  # as good as stuck in C code: no yield, no exception gets in
        try:
            yield "b"
        finally:
            ended.set()

    with caplog.at_level(logging.WARNING, "machpay.run"):
        async with Batches(handler, INPUT, same) as batches:
            assert await anext(batches) == ["a"]
    assert not ended.is_set()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "exec_test" in caplog.text
    assert "abandoned" in caplog.text
    release.set()
    await until(ended.is_set, "it ends at its next yield")
    await until(lambda: not _iterate._abandoned, "nothing is kept of it")


async def test_async_code_that_swallows_its_cancellation_is_abandoned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = asyncio.Event()
    ended = asyncio.Event()

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        yield "a"
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        try:
            yield "b"
        finally:
            ended.set()

    async with Batches(handler, INPUT, same) as batches:
        assert await anext(batches) == ["a"]
    assert "abandoned" in caplog.text
    release.set()
    await asyncio.wait_for(ended.wait(), 10)
    await until(lambda: not _iterate._abandoned, "nothing is kept of it")


async def test_an_error_while_being_stopped_is_logged_not_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(input: SkillInput) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            raise ValueError("clean-up failed")

    async with Batches(handler, INPUT, same) as batches:
        assert await anext(batches) == ["a"]
    assert "while it was being stopped" in caplog.text
    assert "clean-up failed" in caplog.text


async def test_a_hot_async_generator_leaves_the_loop_to_others() -> None:
    ticks = 0

    async def ticker() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        for _ in range(100_000):
            yield "x"

    task = asyncio.create_task(ticker())
    outputs = await outputs_of(handler)
    task.cancel()
    assert len(outputs) == 100_000
    assert ticks >= 100_000 // MAX_ITEMS


async def test_taking_what_is_there_already_leaves_the_loop_to_others_too() -> None:
    buffer = Buffer(asyncio.get_running_loop())
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(50):
        buffer.put("x")
        assert await buffer.take() == ["x"]
    task.cancel()
    assert turns >= 49


@pytest.mark.parametrize("last", ["yields", "returns a coroutine"])
def test_the_loop_may_be_closed_before_the_thread_ends(last: str) -> None:
    release = threading.Event()
    threads: list[threading.Thread] = []

    def yields() -> Iterator[str]:
        yield "a"

    def handler(input: SkillInput) -> Any:
        threads.append(threading.current_thread())
        release.wait(30)
        return yields() if last == "yields" else returns("a")

    async def main() -> None:
        async with Batches(handler, INPUT, same):
            await until(lambda: threads, "the thread runs")

    asyncio.run(main())
    release.set()
    threads[0].join(10)
    # An exception in the thread, or a coroutine never awaited, is a warning, and so fails the test.
    assert not threads[0].is_alive()


def test_a_thread_that_waits_for_room_sees_that_its_loop_is_closed() -> None:
    loop = asyncio.new_event_loop()
    buffer = Buffer(loop)
    answers: list[bool] = []

    def produce() -> None:
        while buffer.put_from_thread("x"):
            pass
        answers.append(buffer.wait_in_thread())

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    while len(buffer._items) < MAX_ITEMS:
        pass
    loop.close()
    thread.join(10)
    assert answers == [False]
    assert not buffer.put_from_thread("y") or buffer.closed


ERRORS: list[BaseException] = [
    ValueError("no"),
    StopIteration("odd"),
    StopAsyncIteration("odd"),
    GeneratorExit(),
    asyncio.CancelledError(),
    TimeoutError(),
    SystemExit(3),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_a_plain_function_raises_is_the_handlers_failure(error: BaseException) -> None:
    def handler(input: SkillInput) -> str:
        raise error

    with pytest.raises(HandlerFailed) as caught:
        await outputs_of(handler)
    assert caught.value.error is error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_a_generator_raises_comes_after_what_it_yielded(
    kind: str, error: BaseException
) -> None:
    def sync(input: SkillInput) -> Iterator[str]:
        yield "a"
        raise error

    async def asynchronous(input: SkillInput) -> AsyncIterator[str]:
        yield "a"
        raise error

    seen: list[object] = []
    with pytest.raises(HandlerFailed) as caught:
        await collect(sync if kind == "sync" else asynchronous, same, seen)
    assert seen == ["a"]
    # Python turns Stop(Async)Iteration inside a generator into a RuntimeError.
    assert caught.value.error is error or caught.value.error.__cause__ is error


async def test_what_accept_refuses_ends_the_iteration_and_closes_the_generator() -> None:
    closed = threading.Event()

    def handler(input: SkillInput) -> Iterator[str]:
        try:
            yield "good"
            yield "bad"
            yield "good"
        finally:
            closed.set()

    def accept(output: object) -> object:
        if output == "bad":
            raise ValueError(output)
        return output

    seen: list[object] = []
    with pytest.raises(HandlerFailed) as caught:
        await collect(handler, accept, seen)
    assert seen == ["good"]
    assert isinstance(caught.value.error, ValueError)
    assert closed.is_set()


async def test_expire_wakes_the_reader() -> None:
    async def handler(input: SkillInput) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    async with Batches(handler, INPUT, same) as batches:
        task = asyncio.ensure_future(anext(batches))
        await until(lambda: batches.waiting_since is not None, "the reader waits")
        batches.expire(LookupError("now"))
        with pytest.raises(LookupError, match="now"):
            await task
    assert batches.waiting_since is None


async def test_expire_also_ends_a_handler_that_always_has_more() -> None:
    async def handler(input: SkillInput) -> AsyncIterator[str]:
        while True:
            yield "x"

    async with Batches(handler, INPUT, same) as batches:
        await anext(batches)
        batches.expire(LookupError("now"))
        with pytest.raises(LookupError, match="now"):
            await anext(batches)

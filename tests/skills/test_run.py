import asyncio
import enum
import itertools
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from machpay import _run
from machpay._output import Piece
from machpay._run import Completed, Failed, Outcome, run
from machpay._wire import encode_payload
from machpay.events import ChunkEvent
from machpay.exceptions import SkillError
from machpay.skill import Chunk, Resume, Skill, SkillInput, Usage
from tests.waiting import until

INPUT = SkillInput({"n": 1}, execution_id="exec_test")


class Published:
    """What was published, batch by batch."""

    def __init__(self, takes: Iterable[bool] = ()) -> None:
        self.batches: list[list[ChunkEvent]] = []
        self.tokens: list[int] = []
        self._takes = iter(takes)

    def at_once(self, batch: list[Piece]) -> bool:
        assert batch, "an empty batch is not worth a call"
        if next(self._takes, False):
            self._take(batch)
            return True
        return False

    async def __call__(self, batch: list[Piece]) -> None:
        assert batch, "an empty batch is not worth a call"
        self._take(batch)

    def _take(self, batch: list[Piece]) -> None:
        self.batches.append([piece.chunk for piece in batch])
        self.tokens += [piece.tokens for piece in batch]

    @property
    def chunks(self) -> list[ChunkEvent]:
        return list(itertools.chain.from_iterable(self.batches))

    @property
    def texts(self) -> list[str]:
        return [chunk.text for chunk in self.chunks]


def skill_of(handler: Any, **policy: Any) -> Skill:
    skill = Skill(id="test-skill", **policy)
    skill.stream_handler(handler)
    return skill


def yielding(*outputs: Any) -> Callable[[SkillInput], Iterator[Any]]:
    def handler(input: SkillInput) -> Iterator[Any]:
        yield from outputs

    return handler


def yielding_async(*outputs: Any) -> Callable[[SkillInput], AsyncIterator[Any]]:
    async def handler(input: SkillInput) -> AsyncIterator[Any]:
        for output in outputs:
            yield output

    return handler


TAKES: list[bool] = []


@pytest.fixture(
    autouse=True,
    params=[[False], [True], [True, False], [False, True, True]],
    ids=["waits", "at once", "at once and waits", "waits and at once"],
)
def takes(request: pytest.FixtureRequest) -> None:
    """Whether chunks are taken at once, or only after a wait: again and again in this order."""
    TAKES[:] = request.param


async def outcome_of(handler: Any, **policy: Any) -> tuple[Outcome, Published]:
    published = Published(itertools.cycle(TAKES))
    skill = skill_of(handler, **policy)
    return await run(skill, INPUT, published, at_once=published.at_once), published


@pytest.mark.parametrize("kind", [yielding, yielding_async])
async def test_one_yield_is_one_chunk_in_order(kind: Any) -> None:
    outcome, published = await outcome_of(kind("Once ", "", "upon"))
    assert published.texts == ["Once ", "", "upon"]
    assert [chunk.index for chunk in published.chunks] == [0, 1, 2]
    assert outcome == Completed(tokens=3, chunks=3)


async def test_the_timestamp_is_when_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machpay._output.time.time_ns", lambda: 1_700_000_000_123_999_999)
    _, published = await outcome_of(yielding("a"))
    assert published.chunks[0].timestamp == 1_700_000_000_123


async def test_the_handler_gets_the_input_as_it_is() -> None:
    _, published = await outcome_of(lambda input: f"{input.data} {input.execution_id}")
    assert published.texts == ["{'n': 1} exec_test"]


async def test_a_plain_function_that_returns_none_has_no_chunk() -> None:
    outcome, published = await outcome_of(lambda input: None)
    assert published.batches == []
    assert outcome == Completed(tokens=0, chunks=0)


class Colour(str, enum.Enum):  # noqa: UP042 - str() of it is not its text, unlike a StrEnum's
    RED = "red"


async def test_a_subclass_of_str_is_its_text() -> None:
    _, published = await outcome_of(yielding(Colour.RED, Chunk(Colour.RED)))
    assert published.texts == ["red", "red"]
    assert {type(text) for text in published.texts} == {str}


async def test_lone_surrogates_become_replacement_characters_and_pairs_are_joined() -> None:
    outcome, published = await outcome_of(yielding("a\ud83d", "\ud83d\ude00", Chunk("\udc00")))
    assert published.texts == ["a\ufffd", "\U0001f600", "\ufffd"]
    assert isinstance(outcome, Completed)


# ---- tokens


@pytest.mark.parametrize(
    ("outputs", "tokens"),
    [
        (["12345", "6789"], 3),
        ([Chunk("a", tokens=2), "b", Chunk("c", tokens=0), Chunk("d", tokens=5)], 7),
        ([Usage(5), "a", Usage(9), Usage(7)], 7),
        ([Usage(0), "many characters here"], 0),
        ([Chunk("a", tokens=2), Usage(40), Chunk("b", tokens=3)], 40),
        ([Usage(2**53)], 2**53),
    ],
    ids=["estimate", "chunks add up", "last report wins", "zero counts", "report wins", "largest"],
)
async def test_tokens(outputs: list[Any], tokens: int) -> None:
    outcome, _ = await outcome_of(yielding(*outputs))
    assert isinstance(outcome, Completed)
    assert outcome.tokens == tokens


@pytest.mark.parametrize("tokens", [-1, True, 1.0, float("nan"), "3", 2**53 + 1, None])
@pytest.mark.parametrize("report", [Usage, lambda tokens: Chunk("x", tokens=tokens)])
async def test_tokens_that_are_no_count_are_a_skill_error(
    tokens: Any, report: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if report is not Usage and tokens is None:
        return  # a chunk without a count
    outcome, published = await outcome_of(yielding("a", report(tokens), "b"))
    assert outcome == Failed(
        code="skill_error", message="The skill failed.", retryable=False, tokens=1, chunks=1
    )
    assert published.texts == ["a"]
    assert repr(tokens) in caplog.text


# ---- data


async def test_data_is_what_it_was_at_the_yield() -> None:
    def handler(input: SkillInput) -> Iterator[Chunk]:
        state = {"done": 0}
        for done in range(3):
            state["done"] = done
            yield Chunk("", data=state)

    _, published = await outcome_of(handler)
    assert [chunk.data for chunk in published.chunks] == [{"done": 0}, {"done": 1}, {"done": 2}]


def endless() -> list[Any]:
    data: list[Any] = []
    data.append(data)
    return data


@pytest.mark.parametrize(
    "data",
    [object(), {"a": {1j}}, {"a": "\ud800"}, endless(), "x" * 300_000],
    ids=["object", "complex", "surrogate", "endless", "large"],
)
async def test_data_that_is_not_json_or_too_large_is_a_skill_error(
    data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, published = await outcome_of(yielding("a", Chunk("b", data=data)))
    assert isinstance(outcome, Failed)
    assert outcome.code == "skill_error"
    assert published.texts == ["a"]
    assert "Chunk.data" in caplog.text
    assert "exec_test" in caplog.text


# ---- size


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("x" * (256 << 10), 1),
        ("x" * ((256 << 10) + 1), 5),
        ("é" * (128 << 10), 1),
        ("\U0001f600" * (64 << 10), 1),
        ("\U0001f600" * ((64 << 10) + 1), 2),
        ("\0" * (256 << 10), 4),
    ],
    ids=["at the limit", "over", "two bytes each", "four bytes each", "four bytes, over", "NUL"],
)
async def test_a_long_text_is_split_so_that_every_event_stays_small(text: str, pieces: int) -> None:
    _, published = await outcome_of(yielding("a", Chunk(text, data={"k": "v"}), "z"))
    assert "".join(published.texts) == f"a{text}z"
    assert len(published.chunks) == pieces + 2
    assert [chunk.index for chunk in published.chunks] == list(range(pieces + 2))
    assert [chunk.data for chunk in published.chunks] == [
        *[None] * pieces,
        {"k": "v"},
        None,
    ]
    assert all(len(encode_payload(chunk)) < 1 << 20 for chunk in published.chunks)
    assert all(len(chunk.text.encode()) <= 256 << 10 for chunk in published.chunks)


async def test_a_huge_text_is_published_in_batches_of_bounded_size() -> None:
    text = "0123456789abcdef" * (5 << 16)
    _, published = await outcome_of(yielding(text))
    assert "".join(published.texts) == text
    assert max(sum(len(c.text) for c in batch) for batch in published.batches) <= 4 << 20
    assert len(published.batches) > 1


@pytest.mark.parametrize(
    ("outputs", "fits"),
    [
        (["12345", "67890"], True),
        (["12345", "678901", "x"], False),
        (["12345", "ééé"], False),
        (["12345", Chunk("678", data=1)], True),
        (["12345", Chunk("678", data=100)], False),
    ],
)
async def test_output_over_the_limit_ends_the_run_after_what_fit(
    outputs: list[Any], fits: bool
) -> None:
    outcome, published = await outcome_of(yielding(*outputs), max_output_bytes=10)
    if fits:
        assert isinstance(outcome, Completed)
        return
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable, outcome.tokens) == ("output_limit", False, 2)
    assert published.texts == ["12345"]


# ---- streaming=False


async def test_without_streaming_everything_is_one_delivery_at_the_end() -> None:
    last_yield = threading.Event()
    published = Published()

    async def publish(batch: list[Piece]) -> None:
        assert last_yield.is_set(), "published before the handler was done"
        await published(batch)

    def handler(input: SkillInput) -> Iterator[Any]:
        yield "a"
        yield "b"
        yield Chunk("c", data=1)
        yield ""
        yield "d"
        yield Usage(9)
        last_yield.set()

    outcome = await run(skill_of(handler, streaming=False), INPUT, publish)
    assert [(c.text, c.data, c.index) for c in published.chunks] == [("abc", 1, 0), ("d", None, 1)]
    assert len(published.batches) == 1
    assert outcome == Completed(tokens=9, chunks=2)


@pytest.mark.parametrize(("outputs", "texts"), [([], []), ([""], [""]), (["", "a", ""], ["a"])])
async def test_without_streaming_empty_texts_add_nothing(
    outputs: list[str], texts: list[str]
) -> None:
    _, published = await outcome_of(yielding(*outputs), streaming=False)
    assert published.texts == texts


async def test_without_streaming_a_failed_run_delivers_nothing() -> None:
    def handler(input: SkillInput) -> Iterator[str]:
        yield "a"
        raise SkillError("too_bad", "No.")

    outcome, published = await outcome_of(handler, streaming=False)
    assert isinstance(outcome, Failed)
    assert outcome.code == "too_bad"
    assert published.batches == []


# ---- errors


def raising(error: BaseException) -> Callable[[SkillInput], Iterator[str]]:
    def handler(input: SkillInput) -> Iterator[str]:
        yield "part"
        raise error

    return handler


async def test_a_skill_error_reaches_the_client() -> None:
    error = SkillError("prompt_too_long", "At most 10 words, \ud83d.", retryable=True)
    outcome, published = await outcome_of(raising(error))
    assert outcome == Failed(
        code="prompt_too_long",
        message="At most 10 words, \ufffd.",
        retryable=True,
        tokens=1,
        chunks=1,
    )
    assert published.texts == ["part"]


async def test_a_message_is_cut_to_a_sane_length() -> None:
    outcome, _ = await outcome_of(raising(SkillError("long", "x" * 1_000_000)))
    assert isinstance(outcome, Failed)
    assert len(outcome.message) == 4096


@pytest.mark.parametrize(
    "code", ["", "Upper", "with space", "x" * 65, "a\n", 5, None, *sorted(_run.PLATFORM_CODES)]
)
async def test_a_code_that_is_malformed_or_ours_is_a_skill_error(
    code: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, _ = await outcome_of(raising(SkillError(code, "secret detail", retryable=True)))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("skill_error", "The skill failed.")
    assert not outcome.retryable
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret detail"),
        TimeoutError("secret detail"),
        asyncio.CancelledError("secret detail"),
        StopIteration("secret detail"),
        SystemExit("secret detail"),
        KeyboardInterrupt("secret detail"),
        ExceptionGroup("secret detail", [ValueError("x")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_other_error_is_neutral_to_the_client_and_whole_in_the_log(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, published = await outcome_of(raising(error))
    assert outcome == Failed(
        code="skill_error", message="The skill failed.", retryable=False, tokens=1, chunks=1
    )
    assert published.texts == ["part"]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("machpay.run", logging.ERROR)
    assert "exec_test" in record.getMessage()
    assert "test-skill" in record.getMessage()
    assert "Traceback" in caplog.text
    assert "secret detail" in caplog.text
    assert "in handler" in caplog.text


async def test_sys_exit_in_async_code_ends_the_run_only() -> None:
    async def handler(input: SkillInput) -> str:
        sys.exit(3)

    outcome, _ = await outcome_of(handler)
    assert isinstance(outcome, Failed)
    assert outcome.code == "skill_error"


async def test_an_exception_that_cannot_be_printed_is_still_an_outcome() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

        __repr__ = __str__

    outcome, _ = await outcome_of(raising(Rude()))
    assert isinstance(outcome, Failed)
    assert outcome.code == "skill_error"


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (b"bytes", "bytes"),
        (None, "NoneType"),
        (5, "int"),
        ({"a": 1}, "dict"),
        (["a"], "list"),
        (Chunk(b"x"), "bytes"),  # type: ignore[arg-type]
    ],
    ids=["bytes", "None", "int", "dict", "list", "Chunk(bytes)"],
)
@pytest.mark.parametrize("kind", [yielding, yielding_async])
async def test_a_yield_of_something_else_is_a_skill_error_that_names_the_type(
    kind: Any, output: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, published = await outcome_of(kind("good", output, "never"))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("skill_error", "The skill failed.")
    assert published.texts == ["good"]
    assert f"not {name}" in caplog.text


async def test_a_plain_function_that_returns_something_else_is_a_skill_error() -> None:
    outcome, _ = await outcome_of(lambda input: 5)
    assert isinstance(outcome, Failed)
    assert outcome.code == "skill_error"


async def test_a_skill_without_handler_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="no handler"):
        await run(Skill(id="x"), INPUT, Published())


# ---- limits of time


async def hang(input: SkillInput) -> AsyncIterator[str]:
    yield "a"
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("policy", "total", "code", "retryable"),
    [
        ({"timeout": 0.05}, None, "timeout", False),
        ({}, 0.05, "timeout", False),
        ({"timeout": 0.05, "idle_timeout": 0.2}, 30.0, "idle_timeout", True),
        ({"idle_timeout": 0.05}, None, "idle_timeout", True),
    ],
    ids=["the skill's", "the caller's", "the caller's wins", "idle"],
)
async def test_a_silent_handler_ends_in_the_limits_own_code(
    policy: dict[str, float], total: float | None, code: str, retryable: bool
) -> None:
    published = Published()
    outcome = await run(skill_of(hang, **policy), INPUT, published, timeout=total)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == (code, retryable)
    assert published.texts == ["a"]


async def test_a_thread_that_never_yields_does_not_outlive_its_limit() -> None:
    release = threading.Event()

    def handler(input: SkillInput) -> Iterator[str]:
        release.wait(30)
        yield "never"

    outcome, published = await outcome_of(handler, timeout=0.05)
    assert isinstance(outcome, Failed)
    assert outcome.code == "timeout"
    release.set()
    assert published.batches == []


async def test_a_handler_that_never_stops_yielding_is_stopped() -> None:
    async def handler(input: SkillInput) -> AsyncIterator[str]:
        while True:
            yield ""

    outcome, _ = await outcome_of(handler, timeout=0.05)
    assert isinstance(outcome, Failed)
    assert outcome.code == "timeout"


async def test_a_handler_that_yields_often_enough_is_not_idle() -> None:
    looks = 0
    original = _run._Watchdog._look

    def look(watchdog: Any) -> None:
        nonlocal looks
        looks += 1
        original(watchdog)

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        while looks < 4:
            yield "x"
            await asyncio.sleep(0.001)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run._Watchdog, "_look", look)
        outcome, _ = await outcome_of(handler, idle_timeout=0.3)
    assert isinstance(outcome, Completed)


async def test_time_in_publish_is_not_the_handlers_idleness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    original = _run._Watchdog._look

    def look(watchdog: Any) -> None:
        nonlocal looks
        looks += 1
        original(watchdog)

    monkeypatch.setattr(_run._Watchdog, "_look", look)

    async def publish(batch: list[Piece]) -> None:
        target = looks + 3
        await until(lambda: looks >= target, "three times the idle limit in publish")

    outcome = await run(skill_of(yielding("a", "b"), idle_timeout=0.1), INPUT, publish)
    assert outcome == Completed(tokens=1, chunks=2)


async def test_the_total_limit_never_cancels_publish() -> None:
    published = Published()
    handler_stopped = asyncio.Event()

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await asyncio.sleep(0)
        finally:
            handler_stopped.set()

    loop = asyncio.get_running_loop()
    started = loop.time()

    async def publish(batch: list[Piece]) -> None:
        await until(lambda: loop.time() > started + 0.1, "past the limit")
        await published(batch)

    outcome = await run(skill_of(handler, timeout=0.05), INPUT, publish)
    assert isinstance(outcome, Failed)
    assert outcome.code == "timeout"
    assert len(published.batches) == 1
    assert outcome.chunks == len(published.chunks)
    assert handler_stopped.is_set()


# ---- cancellation and publish's own errors


async def test_cancellation_passes_through_and_stops_the_handler() -> None:
    stopped = asyncio.Event()
    published = Published()

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task = asyncio.create_task(run(skill_of(handler), INPUT, published))
    await until(lambda: published.batches, "the first chunk")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()


async def test_cancellation_passes_through_a_handler_that_swallows_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = asyncio.Event()
    published = Published()

    async def handler(input: SkillInput) -> AsyncIterator[str]:
        yield "a"
        while not release.is_set():
            try:
                await release.wait()
            except BaseException:  # noqa: BLE001
                continue

    task = asyncio.create_task(run(skill_of(handler), INPUT, published))
    await until(lambda: published.batches, "the first chunk")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "abandoned" in caplog.text
    release.set()


async def test_counts_that_are_too_many_together_are_no_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome, _ = await outcome_of(yielding(Chunk("a", tokens=1 << 53), Chunk("b", tokens=1)))
    assert isinstance(outcome, Failed)
    assert outcome.code == "skill_error"
    assert "2**53" in caplog.text


@pytest.mark.parametrize(
    "error", [RuntimeError("fenced"), TimeoutError("redis"), LookupError("x")], ids=repr
)
async def test_an_error_of_publish_passes_through_unchanged(error: Exception) -> None:
    closed = threading.Event()

    def handler(input: SkillInput) -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    async def publish(batch: list[Piece]) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await run(skill_of(handler), INPUT, publish)
    assert caught.value is error
    # On a busy machine its thread may need longer than the grace.
    await until(closed.is_set, "the handler is closed")


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    threads = set(threading.enumerate())
    for handler in (yielding("a"), yielding_async("a"), raising(ValueError("x")), lambda _: "a"):
        await outcome_of(handler)
    assert asyncio.all_tasks() == before
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert not [timer for timer in timers if "_look" in repr(timer)]
    await until(lambda: set(threading.enumerate()) <= threads, "the threads end")


@pytest.mark.parametrize("cut", range(4))
async def test_an_interruption_does_not_change_the_estimated_tokens(cut: int) -> None:
    pieces = ["1", "2345", "67890"]
    left = pieces[cut:]
    resume = Resume(text="".join(pieces[:cut]), chunks=cut)
    given = SkillInput({}, execution_id="exec_test", attempt=2, resume=resume)
    outcome = await run(skill_of(yielding(*left)), given, Published())
    assert isinstance(outcome, Completed)
    assert outcome.tokens == 3

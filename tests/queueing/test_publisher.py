"""The publisher: order, batches that form by themselves, back-pressure, a Redis that is away."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from redis.exceptions import ConnectionError, ResponseError

from machpay._output import Piece
from machpay._position import Position
from machpay.events import ChunkEvent
from shared import patience
from shared.bill import Used
from shared.line import Answered
from shared.log import NewEvent
from shared.refusals import Fenced
from workers import publisher as module
from workers.claim import Claim
from workers.publisher import BUFFER_EVENTS, Publisher


def chunk(index: int, text: str = "x") -> Piece:
    return Piece(ChunkEvent(text=text, index=index, timestamp=0), tokens=2 * (index + 1))


class GatedLog:
    """A log whose appends wait for a gate, to see what gathers behind it."""

    def __init__(self) -> None:
        self.batches: list[tuple[Position, list[NewEvent]]] = []
        self.used: list[Used] = []
        self.gate = asyncio.Event()
        self.called = asyncio.Event()
        self.failures: list[Exception] = []

    async def append(
        self, execution_id: str, first: Position, events: Sequence[NewEvent], *, used: Used
    ) -> None:
        self.called.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append((first, list(events)))
        self.used.append(used)

    def keys(self, execution_id: str) -> list[str]:
        return [execution_id]

    def send(
        self,
        keys: list[str],
        first: Position,
        events: Sequence[NewEvent],
        used: Used,
        answered: Answered,
    ) -> None:
        def done(task: "asyncio.Task[None]") -> None:
            answered(task.exception() or [b"OK"])

        asyncio.ensure_future(self.append(keys[0], first, events, used=used)).add_done_callback(
            done
        )

    def check(self, execution_id: str, reply: None) -> None:
        pass


@pytest.fixture
def log() -> GatedLog:
    return GatedLog()


@pytest.fixture
def publisher(log: GatedLog) -> Publisher:
    return Publisher(log, Claim("e", 2, 7), time.monotonic())  # type: ignore[arg-type]


async def test_a_batch_forms_while_one_is_in_flight(log: GatedLog, publisher: Publisher) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        await publisher.publish([chunk(0)])
        await log.called.wait()
        for index in range(1, 6):
            await publisher.publish([chunk(index)])
        publisher.finish(("end", b"{}"), Used(6, 12, 99))
        log.gate.set()
    assert [(str(first), len(events)) for first, events in log.batches] == [("2-7", 1), ("2-8", 6)]
    assert log.batches[1][1][-1] == ("end", b"{}")
    assert [log.used[0][:2], log.used[1]] == [(1, 2), Used(6, 12, 99)]


async def test_a_producer_that_outruns_redis_is_held_back(
    log: GatedLog, publisher: Publisher
) -> None:
    taken = 0

    async def produce() -> None:
        nonlocal taken
        for index in range(3 * BUFFER_EVENTS):
            await publisher.publish([chunk(index)])
            taken += 1
        publisher.finish(("end", b"{}"), Used())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        tasks.create_task(produce())
        await log.called.wait()
        for _ in range(10):  # let the producer run as far as it can
            await asyncio.sleep(0)
        assert taken < 2 * BUFFER_EVENTS
        log.gate.set()
    events = [event for _, batch in log.batches for event in batch]
    assert len(events) == 3 * BUFFER_EVENTS + 1
    seqs = [first.seq for first, _ in log.batches]
    sizes = [len(batch) for _, batch in log.batches]
    assert seqs == [7 + sum(sizes[:n]) for n in range(len(sizes))]
    assert max(sizes) <= module.BATCH_EVENTS


async def test_a_batch_is_bounded_in_bytes(log: GatedLog, publisher: Publisher) -> None:
    log.gate.set()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            publisher._put(("chunk", b"x" * (module.BATCH_BYTES // 2 + 1)), 0, 0)
        publisher._put(("chunk", b"x" * (2 * module.BATCH_BYTES)), 0, 0)
        publisher.finish(("end", b"{}"), Used())
        tasks.create_task(publisher.run())
    assert [len(batch) for _, batch in log.batches] == [1, 1, 1, 1, 1, 1]


async def test_a_redis_that_is_away_is_waited_for(
    log: GatedLog, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    log.gate.set()
    log.failures = [
        ConnectionError("refused"),
        OSError("reset"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        await publisher.publish([chunk(0)])
        publisher.finish(("end", b"{}"), Used())
    assert sum(len(batch) for _, batch in log.batches) == 2
    assert log.batches[0][0] == Position(2, 7)


@pytest.mark.parametrize("error", [Fenced("e", Position(3, 8)), ResponseError("WRONGTYPE")])
async def test_a_refusal_ends_the_publisher(
    log: GatedLog, publisher: Publisher, error: Exception
) -> None:
    log.gate.set()
    log.failures = [error, error]
    await publisher.publish([chunk(0)])
    with pytest.raises(type(error)):
        await publisher.run()


async def test_an_aborted_publisher_ends_with_the_reason(
    log: GatedLog, publisher: Publisher
) -> None:
    log.gate.set()
    publisher.abort(LookupError("stop"))
    await publisher.publish([chunk(0)])
    with pytest.raises(LookupError):
        await publisher.run()
    assert log.batches == []

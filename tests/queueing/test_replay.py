"""The replay: what clients have is dropped once it is the same, and never delivered twice."""

import pytest

from machpay._output import Piece
from machpay._run import Completed, Failed, Outcome
from machpay.events import ChunkEvent
from shared.bill import Used
from shared.terms import Terms
from workers.past import Transcript
from workers.replay import Replay
from workers.settle import settle


def chunks(*texts: str) -> list[ChunkEvent]:
    return [ChunkEvent(text=text, index=n, timestamp=n) for n, text in enumerate(texts)]


def transcript(*texts: str) -> Transcript:
    delivered = Transcript()
    for chunk in chunks(*texts):
        delivered.add(chunk)
    return delivered


class Run:
    """A handler's second run: publishes batches, then ends."""

    def __init__(self, delivered: Transcript | None, ending: Outcome | None = None) -> None:
        self.published: list[str] = []
        self.replay = Replay(delivered, self._publish)
        self.ending = ending or Completed(tokens=1, chunks=1)

    async def _publish(self, taken: list[Piece]) -> None:
        self.published += [piece.chunk.text for piece in taken]

    async def of(self, *batches: list[ChunkEvent]) -> Outcome:
        async def handler() -> Outcome:
            for batch in batches:
                await self.replay.publish([Piece(chunk, 0) for chunk in batch])
            return self.ending

        return await self.replay.judge(handler())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_what_was_delivered_is_dropped_however_it_is_batched(size: int) -> None:
    run = Run(transcript("a", "b", "c"))
    again = chunks("a", "b", "c", "d", "e")
    batches = [again[start : start + size] for start in range(0, len(again), size)]
    assert isinstance(await run.of(*batches), Completed)
    assert run.published == ["d", "e"]


async def test_without_a_past_all_passes_through() -> None:
    run = Run(None)
    await run.of(chunks("a", "b"))
    assert run.published == ["a", "b"]


@pytest.mark.parametrize(
    "again",
    [
        chunks("a", "x", "c"),
        chunks("a", "bc", "d"),  # the same text, cut elsewhere
        [*chunks("a"), ChunkEvent(text="b", index=1, timestamp=0, data=1)],
        chunks("a"),  # less than what clients have
    ],
)
async def test_anything_else_is_nondeterministic_and_delivers_nothing(
    again: list[ChunkEvent],
) -> None:
    run = Run(transcript("a", "b"))
    outcome = await run.of(again)
    assert isinstance(outcome, Failed)
    assert outcome.code == "nondeterministic"
    assert run.published == []


async def test_a_handler_that_fails_before_it_is_where_it_was_failed() -> None:
    failed = Failed(code="too_long", message="", retryable=False, tokens=0, chunks=0)
    assert await Run(transcript("a", "b"), failed).of(chunks("a")) is failed


async def test_a_replay_that_is_stopped_before_anything_new_pays_for_what_clients_have() -> None:
    stopped = Failed(code="budget_exceeded", message="", retryable=False, tokens=1, chunks=1)
    run = Run(transcript("a", "b", "c"), stopped)
    assert await run.of(chunks("a")) == stopped
    assert run.replay.goes_on
    terms = Terms(owner="alice", skill_id="s", created_at=0)
    assert settle(terms, stopped, 70, Used(3, 9, 0)).used == Used(3, 9, 70)
    whole = Run(transcript("a"))
    await whole.of(chunks("a", "b"))
    assert not whole.replay.goes_on

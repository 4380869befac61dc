"""The budget: a run is stopped before it costs more than its caller allows."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machpay import Chunk, Skill, SkillInput, Usage
from machpay._budget import Budget
from machpay._output import Piece
from machpay._run import Completed, Failed, Outcome, run
from machpay._tokenizers import Tokenizer
from machpay.pricing import Pricing
from machpay.skill import Output

PER_TOKEN = Pricing.of({"base_usd": 1, "per_token_usd": 1})


class Run:
    """A run within a budget: what was published, and how it ended."""

    def __init__(self, pricing: Pricing, most: str) -> None:
        self.published: list[Piece] = []
        self.budget = Budget(pricing, Decimal(most), time.monotonic())

    async def of(self, skill: Skill) -> Outcome:
        return await run(skill, SkillInput({}), self._publish, budget=self.budget)

    async def yielding(
        self, *outputs: Output, streaming: bool = True, tokenizer: Tokenizer | None = None
    ) -> Outcome:
        skill = Skill("s", streaming=streaming, tokenizer=tokenizer)
        skill.stream_handler(lambda _: iter(outputs))
        return await self.of(skill)

    async def _publish(self, pieces: list[Piece]) -> None:
        self.published += pieces


async def test_the_chunk_that_would_cost_too_much_is_not_delivered() -> None:
    mine = Run(PER_TOKEN, "3")
    outcome = await mine.yielding("1234", "5678", "9", "0")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.tokens, outcome.chunks) == ("budget_exceeded", 2, 2)
    assert outcome.message == "To go on would cost more than 3 USD."
    assert [piece.chunk.text for piece in mine.published] == ["1234", "5678"]


async def test_all_of_it_may_be_spent() -> None:
    assert await Run(PER_TOKEN, "3").yielding("1234", "5678") == Completed(tokens=2, chunks=2)


async def test_reported_tokens_count() -> None:
    mine = Run(PER_TOKEN, "3")
    outcome = await mine.yielding(Chunk("a", tokens=2), Chunk("b", tokens=1), "c")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.tokens, outcome.chunks) == ("budget_exceeded", 2, 1)
    outcome = await Run(PER_TOKEN, "3").yielding("a", Usage(tokens=50), "b")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.chunks) == ("budget_exceeded", 1)


async def test_what_is_held_back_counts_before_it_is_delivered() -> None:
    mine = Run(PER_TOKEN, "3")
    outcome = await mine.yielding("1234", "5678", "9", streaming=False)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.chunks, mine.published) == ("budget_exceeded", 0, [])


async def test_time_alone_spends_it() -> None:
    """A handler that says nothing more is stopped, too; well before its own limits."""
    skill = Skill("s", timeout=50, idle_timeout=50)
    stopped = asyncio.Event()

    @skill.stream_handler
    async def wait(input: SkillInput) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.sleep(50)
        finally:
            stopped.set()

    mine = Run(Pricing.of({"per_second_usd": 1, "per_token_usd": "0.01"}), "0.1")
    outcome = await mine.of(skill)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.chunks) == ("budget_exceeded", 1)
    await stopped.wait()


async def test_without_a_price_for_it_time_spends_nothing() -> None:
    budget = Budget(PER_TOKEN, Decimal(3), time.monotonic() - 1000)
    assert budget.allows(2)
    assert not budget.allows(3)
    assert budget.lasts(2) > 1000


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(max_size=30), max_size=12),
    base=st.decimals(0, 1, places=3),
    token=st.decimals(0, 1, places=6),
    most=st.decimals("0.001", 3, places=4),
    tokenizer=st.sampled_from([None, lambda text: -(-len(text) // 4), len]),
)
def test_what_is_delivered_never_costs_more(
    texts: list[str], base: Decimal, token: Decimal, most: Decimal, tokenizer: Tokenizer | None
) -> None:
    pricing = Pricing(base_usd=base, per_token_usd=token)
    mine = Run(pricing, str(most))
    outcome = asyncio.run(mine.yielding(*texts, tokenizer=tokenizer))
    cost = pricing.cost(tokens=outcome.tokens, milliseconds=0)
    if mine.published:
        assert cost <= most
        assert mine.published[-1].tokens == outcome.tokens
    left = texts[len(mine.published) :]
    if isinstance(outcome, Completed):
        assert not left
    else:
        assert left
        said = len("".join(texts[: len(mine.published) + 1]))
        if tokenizer is None:
            assert pricing.cost(tokens=-(-said // 4), milliseconds=0) > most
        elif tokenizer is len:
            assert pricing.cost(tokens=said, milliseconds=0) > most
            delivered = len("".join(texts[: len(mine.published)]))
            assert outcome.tokens == delivered  # nothing of what was refused


@pytest.mark.parametrize("cut", range(3))
async def test_a_continued_run_has_the_budget_that_is_left(cut: int) -> None:
    """What an earlier attempt delivered is paid for, and comes off it."""
    from machpay.skill import Resume

    texts = ["1234", "5678", "9"]
    skill = Skill("s")
    skill.stream_handler(lambda _: iter(texts[cut:]))
    mine = Run(PER_TOKEN, "3")
    resume = Resume(text="".join(texts[:cut]), chunks=cut) if cut else None
    given = SkillInput({}, attempt=2, resume=resume)
    outcome = await run(skill, given, mine._publish, budget=mine.budget, earlier_tokens=cut)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.tokens, outcome.chunks) == ("budget_exceeded", 2, 2)

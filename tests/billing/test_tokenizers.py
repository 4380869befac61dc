"""Tokens by a tokenizer: the running count is the count of the whole text, however it is cut."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from machpay import Chunk, Skill, SkillInput, Usage
from machpay._output import Piece
from machpay._run import Completed, Failed, Outcome, run
from machpay._tokenizers import LONGEST_WORD, TokenCount, Tokenizer, counter
from machpay.skill import Output, Resume

TRICKY = (
    st.text(
        alphabet="aZé!(\uff0c。你好[`~`_\" \n\t\r.,'s\u2019漢कि\u0301\u00a0\u2028٣1_-👍",
        max_size=60,
    )
    | st.text()
)


@pytest.fixture(scope="module", params=["o200k_base", "cl100k_base"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Loaded once, which takes half a second."""
    found = counter(request.param)
    assert found is not None
    return found


@given(pieces=st.lists(TRICKY, max_size=8))
@example(pieces=["word", " ", "word"])
@example(pieces=["I'", "m d\u2019", "accord  ", "\n\n", " x"])
def test_the_running_count_is_that_of_the_whole_text(
    tokenizer: Tokenizer, pieces: list[str]
) -> None:
    count, text = TokenCount(tokenizer), ""
    for piece in pieces:
        text += piece
        assert count.add(piece) == tokenizer(text)


def test_what_was_counted_is_not_counted_again() -> None:
    asked: list[str] = []

    def tokenizer(text: str) -> int:
        asked.append(text)
        return len(text)

    count = TokenCount(tokenizer)
    for _ in range(1000):
        count.add("word ")
    assert count.total == 5000
    assert max(map(len, asked)) <= 10
    for _ in range(100):
        count.add("x" * 1000)
    assert count.total == 105_000
    assert max(map(len, asked)) <= LONGEST_WORD + 1000


async def ended(tokenizer: Callable[[str], int] | str, *outputs: Output) -> Outcome:
    skill = Skill("s", tokenizer=tokenizer)  # type: ignore[arg-type]
    skill.stream_handler(lambda _: iter(outputs))
    published: list[Piece] = []

    async def publish(pieces: list[Piece]) -> None:
        published.extend(pieces)

    outcome = await run(skill, SkillInput({}), publish)
    if isinstance(outcome, Completed) and published and isinstance(outputs[-1], str):
        assert published[-1].tokens == outcome.tokens
    return outcome


async def test_a_skill_is_metered_by_its_tokenizer() -> None:
    assert await ended("o200k_base", "Hello", " wor", "ld!") == Completed(tokens=3, chunks=3)
    assert await ended(len, "abc", "de") == Completed(tokens=5, chunks=2)


async def test_what_the_handler_reports_wins() -> None:
    assert await ended(len, "abc", Usage(tokens=70)) == Completed(tokens=70, chunks=1)
    assert await ended(len, Chunk("abc", tokens=9)) == Completed(tokens=9, chunks=1)


@pytest.mark.parametrize("given", [-1, 1.5, True, None, "3", float("nan"), (1 << 53) + 1], ids=repr)
async def test_a_tokenizer_that_gives_nonsense_fails_the_skill(
    given: object, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = await ended(lambda _: given, "abc")  # type: ignore[arg-type,return-value]
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.chunks) == ("skill_error", 0)
    assert "a tokenizer gives an int" in caplog.text


async def test_a_tokenizer_that_raises_fails_the_skill(caplog: pytest.LogCaptureFixture) -> None:
    outcome = await ended(lambda _: 1 // 0, "abc")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("skill_error", "The skill failed.")
    assert "ZeroDivisionError" in caplog.text


async def test_a_handler_that_continues_is_metered_as_if_nothing_had_happened() -> None:
    skill = Skill("s", tokenizer="o200k_base")
    skill.stream_handler(lambda _: iter(["rupted text"]))

    async def publish(pieces: list[Piece]) -> None:
        pass

    given = SkillInput({}, attempt=2, resume=Resume(text="An inter", chunks=1))
    outcome = await run(skill, given, publish)
    whole = counter("o200k_base")
    assert whole is not None
    assert outcome == Completed(tokens=whole("An interrupted text"), chunks=2)


async def test_a_run_that_reported_its_tokens_keeps_them_when_another_one_continues() -> None:
    for count in (len, None):
        skill = Skill("s", tokenizer=count)
        skill.stream_handler(lambda _: iter(["56789"]))
        published: list[Piece] = []

        async def publish(pieces: list[Piece], to: list[Piece] = published) -> None:
            to.extend(pieces)

        given = SkillInput({}, attempt=2, resume=Resume(text="1234", chunks=1))
        outcome = await run(skill, given, publish, earlier_tokens=50)
        assert outcome == Completed(tokens=55 if count else 52, chunks=2)


async def test_all_pieces_of_one_output_count_what_was_delivered_before_them() -> None:
    skill = Skill("s", tokenizer=len)
    skill.stream_handler(lambda _: iter(["abc", "x" * 700_000]))
    published: list[Piece] = []

    async def publish(pieces: list[Piece]) -> None:
        published.extend(pieces)

    await run(skill, SkillInput({}), publish)
    assert len(published) > 3
    assert {piece.tokens for piece in published[:-1]} == {3}
    assert published[-1].tokens == 700_003


@pytest.mark.parametrize("tokenizer", ["gpt2", "", 7, ["o200k_base"]], ids=repr)
def test_a_tokenizer_that_is_none_is_refused_where_it_is_declared(tokenizer: object) -> None:
    with pytest.raises(ValueError, match="skill 's': tokenizer is"):
        Skill("s", tokenizer=tokenizer)  # type: ignore[arg-type]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    counter.__globals__["_named"].cache_clear()
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    with pytest.raises(ValueError, match=r"pip install 'machpay\[tokenizers\]'"):
        Skill("s", tokenizer="cl100k_base")

"""Skills for the playground's tests."""

import json
import time
from collections.abc import Iterator

from machpay import Chunk, Skill, SkillError, SkillInput

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"> & </div><script>document.title='hacked'</script>"


def word(number: int) -> str:
    """The word of a number."""
    return f"{number}-🙂{' ' if number % 10 else chr(10)}"


words = Skill(id="words", name="Words", pricing={"base_usd": 0.01, "per_token_usd": 0.000002})


@words.stream_handler
def write_words(input: SkillInput) -> Iterator[Chunk]:
    """Yield ``n`` numbered words, ten a line, ``pause`` s between two of them."""
    n = int(input.data.get("n", 3))
    for number in range(n):
        yield Chunk(word(number), data={"progress": (number + 1) / n})
        time.sleep(float(input.data.get("pause", 0)))


echo = Skill(id="echo", name="Echo")


@echo.stream_handler
def say_input(input: SkillInput) -> str:
    """Return the input."""
    return json.dumps(input.data, sort_keys=True, ensure_ascii=False)


picky = Skill(id="picky", name="Picky", price_usd=0.5)


@picky.stream_handler
def refuse(input: SkillInput) -> Iterator[str]:
    """Fail in a way that is for the caller."""
    yield "so far "
    raise SkillError("too_long", f"The prompt is too long: {HOSTILE}")


hostile = Skill(id="hostile", name=HOSTILE, description=HOSTILE)


@hostile.stream_handler
def attack(input: SkillInput) -> Iterator[str]:
    """Yield what must stay text, in pieces that are harmless alone."""
    yield HOSTILE[:9]
    yield HOSTILE[9:]
    yield "x" * 3000

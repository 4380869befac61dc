"""Skills for tests on the real system."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from machpay import Chunk, Skill, SkillError, SkillInput, Usage

count = Skill(id="count", name="Count", price_usd=0.01)


@count.stream_handler
def count_up(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` words, ``pause`` s between two of them, the first attempt after ``stuck`` s."""
    if input.attempt == 1:
        time.sleep(float(input.data.get("stuck", 0)))
    for number in range(int(input.data.get("n", 3))):
        yield f"{number} "
        time.sleep(float(input.data.get("pause", 0)))


impatient = Skill(id="impatient", queue_timeout=0.5)


@impatient.stream_handler
def never(input: SkillInput) -> str:
    """Say that it ran."""
    return "ran"


relay = Skill(id="relay", pricing={"base_usd": 0.001, "per_token_usd": 0.00002})


@relay.stream_handler
async def count_async(input: SkillInput) -> AsyncIterator[str | Chunk | Usage]:
    """The same from async code, with data and reported tokens."""
    n = int(input.data.get("n", 3))
    for number in range(n):
        yield Chunk(f"{number} ", data={"progress": (number + 1) / n})
        await asyncio.sleep(float(input.data.get("pause", 0)))
    yield Usage(tokens=100)


plain = Skill(id="plain")


@plain.stream_handler
def answer(input: SkillInput) -> str:
    """Return one text."""
    return f"You said: {input.data.get('prompt')}"


bulky = Skill(id="bulky", max_output_bytes=256 << 20)


@bulky.stream_handler
def fill(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` chunks of ``size`` characters as fast as it goes."""
    for number in range(int(input.data["n"])):
        yield f"{number} ".ljust(int(input.data["size"]), "x")


odd = Skill(id="odd", timeout=1.0, idle_timeout=0.5)


@odd.stream_handler
def misbehave(input: SkillInput) -> Iterator[Any]:
    """Do what a handler must not."""
    yield "so far "
    match input.data["how"]:
        case "bytes":
            yield b"not text"
        case "raise":
            raise RuntimeError("secret detail")
        case "polite":
            raise SkillError("too_long", "The prompt is too long.")
        case "idle":
            time.sleep(3)
        case "endless":
            while True:
                yield "more "
                time.sleep(0.05)

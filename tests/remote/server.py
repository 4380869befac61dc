"""A skill server for tests: ``python -m tests.remote.server PORT``."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator

from machpay import Chunk, Skill, SkillError, SkillInput, Usage
from machpay.serve.server import serve

RUNS = itertools.count(1)
"""How often a handler was called in this process: its first word tells."""


async def count(input: SkillInput) -> AsyncIterator[str | Chunk | Usage]:
    """Say which run this is if asked to, then ``n`` words, ``pause`` s between two of them."""
    run = next(RUNS)
    if input.data.get("tell"):
        yield f"run {run}: "
    n = int(input.data.get("n", 3))
    for number in range(n):
        yield Chunk(f"{number} ", data={"progress": (number + 1) / n})
        await asyncio.sleep(float(input.data.get("pause", 0)))
    yield Usage(tokens=7)


PRICE = {"base_usd": 0.001, "per_token_usd": 0.01}

TAKES = {"type": "object", "properties": {"n": {"type": "integer"}}}

fails = Skill(
    id="far",
    name="Far away",
    description="Counts.",
    pricing=PRICE,
    timeout=60,
    input_schema=TAKES,
)
restarts = Skill(id="far-restarts", on_interrupt="restart")
replays = Skill(id="far-replays", on_interrupt="replay")
whole = Skill(id="far-whole", streaming=False)
for skill in (fails, restarts, replays, whole):
    skill.stream_handler(count)

quits = Skill(id="far-quits")


@quits.stream_handler
async def quit(input: SkillInput) -> AsyncIterator[str]:
    """Fail, in words of its own or not."""
    yield "so far "
    if input.data.get("polite"):
        raise SkillError("too_long", "The prompt is too long.", retryable=True)
    raise RuntimeError("a secret")


SKILLS = [fails, restarts, replays, whole, quits]

if __name__ == "__main__":
    serve(SKILLS, port=int(sys.argv[1]))

"""Skills for the command line's tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from machpay import Chunk, Skill, SkillError, SkillInput

tale = Skill(id="tale", name="A Tale", description="Tells a tale.", price_usd="0.002", timeout=90)


@tale.stream_handler
async def tell(input: SkillInput) -> AsyncIterator[str]:
    """Yield ``n`` words, ``pause`` s between two of them."""
    for number in range(int(input.data.get("n", 3))):
        yield f"word{number} "
        await asyncio.sleep(float(input.data.get("pause", 0)))


echo = Skill(
    id="echo",
    name="Echo",
    input_schema={
        "type": "object",
        "properties": {"text": {"type": "string", "description": "What to say."}},
        "required": ["text"],
    },
)


@echo.stream_handler
def repeat(input: SkillInput) -> str:
    """Return the text it is given."""
    return str(input.data["text"])


task = Skill(id="task", name="A Task")


@task.stream_handler
async def work(input: SkillInput) -> AsyncIterator[Chunk]:
    """Yield what it is given as ``reports`` as the data of chunks, with a word each."""
    for number, data in enumerate(input.data["reports"]):
        yield Chunk(str(input.data.get("text", "")) and f"part{number} ", data=data)
        await asyncio.sleep(float(input.data.get("pause", 0)))
    yield Chunk("done")


failing = Skill(id="failing")


@failing.stream_handler
def fail(input: SkillInput) -> Iterator[Any]:
    """Yield a word, then fail with what it is given."""
    yield "so far "
    raise SkillError(input.data["code"], input.data["message"])

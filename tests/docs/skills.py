"""Skills whose executions complete, fail and go on, for the tests of the HTTP API's description."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from machpay import Skill, SkillError, SkillInput

story = Skill(id="story", price_usd=0.01)
failing = Skill(
    id="failing", input_schema={"type": "object", "properties": {"n": {"type": "integer"}}}
)
endless = Skill(id="endless")


@story.stream_handler
def tell(input: SkillInput) -> Iterator[str]:
    yield from ("Once ", "upon a time.")


@failing.stream_handler
def fail(input: SkillInput) -> Iterator[str]:
    yield "part"
    raise SkillError("out_of_ink", "No ink.", retryable=True)


@endless.stream_handler
async def go_on(input: SkillInput) -> AsyncIterator[str]:
    while True:
        yield "again "
        await asyncio.sleep(0.02)

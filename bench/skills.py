"""Skills to measure with."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from machpay import Skill, SkillInput

burst = Skill(id="burst")


@burst.stream_handler
def yield_at_once(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` short texts as fast as it goes."""
    for number in range(int(input.data.get("n", 1))):
        yield f"token {number} "


hold = Skill(id="hold")


@hold.stream_handler
async def stay(input: SkillInput) -> AsyncIterator[str]:
    """Yield one text, then hold a worker's slot for ``seconds``."""
    yield "holding "
    await asyncio.sleep(float(input.data["seconds"]))

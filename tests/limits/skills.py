"""Skills that cost something."""

import asyncio
from collections.abc import AsyncIterator

from machpay import Chunk, Skill, SkillInput

metered = Skill(id="metered", pricing={"base_usd": "0.003", "per_token_usd": "0.001"})


@metered.stream_handler
async def speak(input: SkillInput) -> AsyncIterator[Chunk]:
    """Yield ``n`` chunks of ``tokens`` tokens, ``pause`` s between two of them."""
    for number in range(int(input.data.get("n", 3))):
        yield Chunk(f"{number} ", tokens=int(input.data.get("tokens", 1)))
        await asyncio.sleep(float(input.data.get("pause", 0)))

"""Skills with tight limits."""

import asyncio
from collections.abc import AsyncIterator

from machpay import Skill, SkillInput


async def _pause(input: SkillInput) -> AsyncIterator[str]:
    """Say one word, be silent for ``seconds``, say another."""
    yield "so far "
    await asyncio.sleep(float(input.data.get("seconds", 3600)))
    yield "done"


quiet = Skill(id="quiet", idle_timeout=4.0)
quiet.stream_handler(_pause)

short = Skill(id="short", timeout=3.0, queue_timeout=1.0)
short.stream_handler(_pause)

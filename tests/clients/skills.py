"""A story that goes on until its listeners have been through enough."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

from machpay import Skill, SkillInput

story = Skill(id="story-generator", price_usd=0.01)


@story.stream_handler
async def tell(input: SkillInput) -> AsyncIterator[str]:
    """Yield words, leave a note of having been started, and end once there is a file of one's name."""
    folder = Path(os.environ["STORIES"])
    (folder / f"{input.data['prompt']} {input.execution_id}").touch()
    enough = folder / input.execution_id
    for number in itertools.count():
        yield f"{number} "
        if enough.exists():  # noqa: ASYNC240 - a file in memory
            return
        await asyncio.sleep(0.05)

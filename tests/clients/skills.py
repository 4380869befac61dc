"""A story that goes on until its listeners have been through enough."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

from machpay import Skill, SkillError, SkillInput

SAD = "a sad end"
"""The prompt of a story that fails."""

story = Skill(id="story-generator", price_usd=0.01)


@story.stream_handler
async def tell(input: SkillInput) -> AsyncIterator[str]:
    """Yield words, leave a note of having been started, and end once there is a file of one's name."""
    if input.data["prompt"] == SAD:
        yield "Once "
        raise SkillError("no_ink", "It ran out of ink.")
    folder = Path(os.environ["STORIES"])
    (folder / f"{input.data['prompt']} {input.execution_id}").touch()
    enough = folder / input.execution_id
    for number in itertools.count():
        yield f"{number} "
        if enough.exists():
            return
        await asyncio.sleep(0.05)

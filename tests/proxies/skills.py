"""A skill that a test steps by hand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from machpay import Skill, SkillInput

step = Skill(id="step", timeout=300, idle_timeout=120)


@step.stream_handler
async def step_by_step(input: SkillInput) -> AsyncIterator[str]:
    """Yield ``n`` words, each when a file of its number is in ``folder``; note each run there."""
    folder = Path(input.data["folder"])
    with (folder / "runs").open("a") as runs:
        runs.write(f"{input.execution_id} {input.attempt}\n")
    for number in range(int(input.data["n"])):
        while not (folder / str(number)).exists():  # noqa: ASYNC110 - a file in memory
            await asyncio.sleep(0.01)
        yield f"{number} "

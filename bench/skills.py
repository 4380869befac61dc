"""Skills to measure with."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from bench.target import Work, stamp
from machpay import Skill, SkillInput

burst = Skill(id="burst")


@burst.stream_handler
def yield_at_once(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` short texts as fast as it goes."""
    for number in range(int(input.data.get("n", 1))):
        yield f"token {number} "


noop = Skill(id="noop")


@noop.stream_handler
async def do_nothing(input: SkillInput) -> AsyncIterator[str]:  # noqa: ARG001 - it needs none
    """Yield one chunk, the least that a stream can have."""
    yield "done"


hold = Skill(id="hold")


@hold.stream_handler
async def stay(input: SkillInput) -> AsyncIterator[str]:
    """Yield one text, then hold a worker's slot for ``seconds``."""
    yield "holding "
    await asyncio.sleep(float(input.data["seconds"]))


wait = Skill(id="wait")


@wait.stream_handler
async def wait_silently(input: SkillInput) -> AsyncIterator[str]:
    """Yield one text, then nothing; note when it is stopped."""
    yield "waiting "
    try:
        await asyncio.sleep(600)
    finally:
        note(input)


tick = Skill(id="tick")


@tick.stream_handler
def tick_in_a_thread(input: SkillInput) -> Iterator[str]:
    """Yield every 20 ms, from sync code; note when it is stopped."""
    try:
        while True:
            yield "tick "
            time.sleep(0.02)
    finally:
        note(input)


def note(input: SkillInput) -> None:
    """Leave the time, in ns, in the file that the input names."""
    path = Path(input.data["stopped"])
    path.with_suffix(".new").write_text(str(time.time_ns()))
    path.with_suffix(".new").rename(path)


steady = Skill(id="steady", on_interrupt="continue")


@steady.stream_handler
async def go_on(input: SkillInput) -> AsyncIterator[str]:
    """Yield every 20 ms, for ``seconds``; go on from what was delivered."""
    done = input.resume.chunks if input.resume is not None else 0
    for number in range(done, int(float(input.data["seconds"]) / 0.02)):
        yield f"{number} "
        await asyncio.sleep(0.02)


paced = Skill(id="paced", timeout=3600, idle_timeout=3600)


@paced.stream_handler
async def produce(input: SkillInput) -> AsyncIterator[str]:
    """Do the work of one stream: see :class:`bench.target.Work`."""
    work = msgspec.convert(input.data, Work)
    if work.delay:
        await asyncio.sleep(work.delay)
    for index in range(work.events):
        if index and work.interval:
            await asyncio.sleep(work.interval)
        yield stamp(index)

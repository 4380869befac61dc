"""Skills for tests on the real system."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from machpay import Chunk, Skill, SkillError, SkillInput, Usage

count = Skill(id="count", name="Count", price_usd=0.01)


@count.stream_handler
def count_up(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` words, ``pause`` s between two of them, the first attempt after ``stuck`` s."""
    if input.attempt == 1:
        time.sleep(float(input.data.get("stuck", 0)))
    for number in range(int(input.data.get("n", 3))):
        yield f"{number} "
        time.sleep(float(input.data.get("pause", 0)))


impatient = Skill(id="impatient", queue_timeout=0.5)


@impatient.stream_handler
def never(input: SkillInput) -> str:
    """Say that it ran."""
    return "ran"


relay = Skill(id="relay", pricing={"base_usd": 0.001, "per_token_usd": 0.00002})


@relay.stream_handler
async def count_async(input: SkillInput) -> AsyncIterator[str | Chunk | Usage]:
    """The same from async code, with data and reported tokens."""
    n = int(input.data.get("n", 3))
    for number in range(n):
        yield Chunk(f"{number} ", data={"progress": (number + 1) / n})
        await asyncio.sleep(float(input.data.get("pause", 0)))
    yield Usage(tokens=100)


def _count(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` words, ``pause`` s between two of them; go on from what was delivered."""
    done = input.resume.chunks if input.resume is not None else 0
    for number in range(done, int(input.data.get("n", 3))):
        yield f"{number} "
        time.sleep(float(input.data.get("pause", 0)))


restarts = Skill(id="restarts", on_interrupt="restart")
restarts.stream_handler(_count)
replays = Skill(id="replays", on_interrupt="replay")
replays.stream_handler(_count)
continues = Skill(id="continues", on_interrupt="continue")
continues.stream_handler(_count)

fickle = Skill(id="fickle", on_interrupt="replay")


@fickle.stream_handler
def say_something_else(input: SkillInput) -> Iterator[str]:
    """Yield other words in every attempt."""
    for number in range(int(input.data["n"])):
        yield f"{input.attempt}:{number} "
        time.sleep(0.05)


poison = Skill(id="poison", on_interrupt="continue")


@poison.stream_handler
def kill_the_worker(input: SkillInput) -> Iterator[str]:
    """End the worker's process as a crash in native code would."""
    yield f"{input.attempt} "
    while not Path(input.data["delivered"]).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGSEGV)


silent = Skill(id="silent", idle_timeout=5.0)


@silent.stream_handler
async def say_nothing(input: SkillInput) -> AsyncIterator[str]:
    """Yield one word, then nothing; leave a file when stopped."""
    yield "so far "
    try:
        await asyncio.sleep(3600)
    finally:
        Path(input.data["stopped"]).touch()  # noqa: ASYNC240 - a file in memory


flood = Skill(id="flood", max_output_bytes=1 << 30)


@flood.stream_handler
def yield_without_end(input: SkillInput) -> Iterator[str]:
    """Yield as fast as it goes, and say in a file how far it got."""
    with Path(input.data["progress"]).open("wb", buffering=0) as progress:
        for number in itertools.count():
            yield f"{number} "
            progress.seek(0)
            progress.write(b"%d" % (number + 1))


plain = Skill(id="plain")


@plain.stream_handler
def answer(input: SkillInput) -> str:
    """Return one text."""
    return f"You said: {input.data.get('prompt')}"


bulky = Skill(id="bulky", max_output_bytes=256 << 20)


@bulky.stream_handler
def fill(input: SkillInput) -> Iterator[str]:
    """Yield ``n`` chunks of ``size`` characters as fast as it goes."""
    for number in range(int(input.data["n"])):
        yield f"{number} ".ljust(int(input.data["size"]), "x")


odd = Skill(id="odd", price_usd=0.5, timeout=1.0, idle_timeout=0.5)


@odd.stream_handler
def misbehave(input: SkillInput) -> Iterator[Any]:
    """Do what a handler must not."""
    yield "so far "
    match input.data["how"]:
        case "bytes":
            yield b"not text"
        case "raise":
            raise RuntimeError("secret detail")
        case "polite":
            raise SkillError("too_long", "The prompt is too long.")
        case "idle":
            time.sleep(3)
        case "endless":
            while True:
                yield "more "
                time.sleep(0.05)


tally = Skill(id="tally", pricing={"base_usd": 0.001, "per_token_usd": 0.00002})
tally.stream_handler(count_async)  # of its own, so that nobody else's executions are in its sums

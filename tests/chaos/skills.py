"""The skills that run under fire: the four policies, and one that is silent at first.

Every handler notes when it begins and when it is left, in a file of its own process: so that the
checker knows which process ran an attempt, and what befell that process, without asking the log.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from machpay import Skill, SkillInput
from tests.chaos.words import pieces

NOTES: Final = "CHAOS_NOTES"
"""The variable that names the directory of the notes."""

fail = Skill(id="chaos-fail", price_usd="0.01", on_interrupt="fail")
restart = Skill(
    id="chaos-restart",
    pricing={"base_usd": "0.001", "per_token_usd": "0.00002"},
    on_interrupt="restart",
)
replay = Skill(
    id="chaos-replay",
    pricing={"base_usd": "0.002", "per_second_usd": "0.0003"},
    on_interrupt="replay",
)
resume = Skill(id="chaos-continue", pricing={"per_token_usd": "0.0000125"}, on_interrupt="continue")
silent = Skill(id="chaos-silent", price_usd="0.005", on_interrupt="fail")

ALL: Final = ",".join(
    f"{__name__}:{name}" for name in ("fail", "restart", "replay", "resume", "silent")
)
"""What ``MACHPAY_SKILLS`` is set to."""


@fail.stream_handler
def tell(input: SkillInput) -> Iterator[str]:
    """Yield the pieces, from a thread."""
    with noted(input):
        for piece in _all(input.data):
            yield piece
            time.sleep(input.data["pause"])


@restart.stream_handler
async def tell_from_the_loop(input: SkillInput) -> AsyncIterator[str]:
    """Yield the pieces, from the event loop."""
    with noted(input):
        for piece in _all(input.data):
            yield piece
            await asyncio.sleep(input.data["pause"])


@replay.stream_handler
def tell_again(input: SkillInput) -> Iterator[str]:
    """Yield the pieces, whichever of them were delivered: the same ones every time."""
    with noted(input):
        for piece in _all(input.data):
            yield piece
            time.sleep(input.data["pause"])


@resume.stream_handler
async def tell_the_rest(input: SkillInput) -> AsyncIterator[str]:
    """Yield the pieces that were not delivered yet."""
    with noted(input):
        said = input.resume.text if input.resume else ""
        for piece in _all(input.data):
            if said:
                assert said.startswith(piece), "what was delivered is not what was yielded"
                said = said.removeprefix(piece)
                continue
            yield piece
            await asyncio.sleep(input.data["pause"])


@silent.stream_handler
def tell_late(input: SkillInput) -> Iterator[str]:
    """Yield nothing for ``late`` s, then the pieces."""
    with noted(input):
        time.sleep(input.data["late"])
        for piece in _all(input.data):
            yield piece
            time.sleep(input.data["pause"])


def _all(data: dict[str, Any]) -> list[str]:
    return pieces(data["seed"], data["n"], data["size"])


@contextmanager
def noted(input: SkillInput) -> Iterator[None]:
    """Note that an attempt is run by this process, and when its handler is left."""
    _note("begun", input)
    try:
        yield
    finally:
        _note("left", input)


def _note(what: str, input: SkillInput) -> None:
    directory = os.environ.get(NOTES)
    if directory is None:
        return
    pid = os.getpid()
    line = f"{what} {input.execution_id} {input.attempt} {pid} {time.time()}\n"
    # One write to a file opened for appending: threads of a process do not tear each other's lines.
    with (Path(directory) / str(pid)).open("ab", buffering=0) as notes:
        notes.write(line.encode())

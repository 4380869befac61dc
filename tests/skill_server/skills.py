"""The skills that the servers under test serve."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator

from machpay.exceptions import SkillError
from machpay.skill import Chunk, Skill, SkillInput, Usage


class Gates:
    """Skills that go on when they are told to, and count their runs.

    Attributes:
        skills: All of them.
        runs: How many executions began.
        finished: How many handlers came to their end.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.finished = 0
        self._gates: dict[str, threading.Event] = {}
        self.skills = [
            *(self._echo(), self._gated(), self._endless(), self._failing(), self._large()),
            strict(self),
            *(priced("priced", 3600.0), priced("brief", 0.5)),
        ]

    def gate(self, name: str) -> threading.Event:
        return self._gates.setdefault(name, threading.Event())

    def _echo(self) -> Skill:
        skill = Skill(
            id="echo",
            name="Echo",
            description="Says it again.",
            pricing={"base_usd": 0.001, "per_token_usd": 0.00002},
        )

        @skill.stream_handler
        def echo(input: SkillInput) -> Iterator[str | Chunk | Usage]:
            self.runs += 1
            yield from input.data.get("texts", [])
            if "data" in input.data:
                yield Chunk("", data=input.data["data"])
            yield Usage(7)
            self.finished += 1

        return skill

    def _gated(self) -> Skill:
        skill = Skill(id="gated")

        @skill.stream_handler
        async def gated(input: SkillInput) -> AsyncIterator[str]:
            self.runs += 1
            gate = self.gate(input.data["gate"])
            yield "before "
            while not gate.is_set():  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.002)
            yield "after"
            self.finished += 1

        return skill

    def _endless(self) -> Skill:
        skill = Skill(id="endless")

        @skill.stream_handler
        async def endless(input: SkillInput) -> AsyncIterator[str]:
            while True:
                yield "again "
                await asyncio.sleep(0.002)

        return skill

    def _failing(self) -> Skill:
        skill = Skill(id="failing")

        @skill.stream_handler
        def failing(input: SkillInput) -> Iterator[str]:
            yield "part"
            if input.data.get("own"):
                raise SkillError("out_of_ink", "No ink.", retryable=True)
            raise ValueError("secret detail")

        return skill

    def _large(self) -> Skill:
        skill = Skill(id="large")

        @skill.stream_handler
        def large(input: SkillInput) -> Iterator[str]:
            for _ in range(int(input.data["chunks"])):
                yield "x" * int(input.data["size"])

        return skill


TEXTS = ["Once ", "upon\n\nevent: end\n", "a \u2028time \U0001f600"]


def story() -> Skill:
    """Make a skill that tells what it was asked, after what looks like events and line ends."""
    skill = Skill(id="story")

    @skill.stream_handler
    def tell(input: SkillInput) -> Iterator[str]:
        if input.data.get("prompt") == "fail":
            yield "so far"
            raise RuntimeError
        yield from TEXTS
        yield json.dumps(input.data)

    return skill


def slow() -> Skill:
    """Make a skill that takes longer than it may."""
    skill = Skill(id="slow", timeout=0.05)

    @skill.stream_handler
    async def wait(input: SkillInput) -> str:
        await asyncio.Event().wait()
        return "never"

    return skill


STRICT = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "words": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["prompt"],
}
"""What ``strict`` takes."""


def priced(skill_id: str, timeout: float) -> Skill:
    """A skill that says something, or nothing, reports tokens if told to, and then goes on for ever."""
    prices = {"base_usd": 0.001, "per_token_usd": 0.00002}
    skill = Skill(id=skill_id, timeout=timeout, pricing=prices)

    @skill.stream_handler
    async def wait(input: SkillInput) -> AsyncIterator[str | Usage]:
        if isinstance(input.data.get("text"), str):
            yield input.data["text"]
        if "tokens" in input.data:
            yield Usage(input.data["tokens"])
        await asyncio.Event().wait()

    return skill


def strict(gates: Gates) -> Skill:
    """A skill that says what it takes, and repeats it."""
    skill = Skill(id="strict", input_schema=STRICT)

    @skill.stream_handler
    def repeat(input: SkillInput) -> Iterator[str]:
        gates.runs += 1
        yield json.dumps(input.data)

    return skill

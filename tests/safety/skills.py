"""Skills that try what skills may do to others."""

from collections.abc import Iterator

import msgspec

from machpay import Chunk, Skill, SkillError, SkillInput

echo = Skill(id="echo")


@echo.stream_handler
def repeat(input: SkillInput) -> Iterator[str | Chunk]:
    """Yield what the prompt says, and ``data`` as it is."""
    prompt = str(input.data.get("prompt", ""))
    if "data" in input.data:
        yield Chunk(prompt, data=input.data["data"])
    else:
        yield prompt


class Question(msgspec.Struct):
    """What ``strict`` takes.

    Attributes:
        prompt: Text.
        words: How many.
    """

    prompt: str
    words: int


strict = Skill(id="strict", name="Of \x1b\u2028\x85 all kinds\r\n\r\ndata: x", input=Question)


@strict.stream_handler
async def answer(input: SkillInput) -> str:
    """Return one text, from a coroutine."""
    raise RuntimeError(f"a detail of {input.value.prompt}")


fails = Skill(id="fails")


@fails.stream_handler
def fail(input: SkillInput) -> Iterator[str]:
    """Raise what the input says, or a fault."""
    yield "so far "
    for half in input.data.get("halves", ""):
        yield f"a{chr(half)}b"
    if "raise" in input.data:
        raise SkillError("odd", str(input.data["raise"]))
    raise LookupError(f"a detail of {input.data.get('prompt')}")

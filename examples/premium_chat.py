"""The guide's ``premium-chat``: priced by the token and the second, with progress.

Serve it by itself:         python -m examples.premium_chat
Or let workers run it:      MACHPAY_SKILLS=examples.premium_chat:skill
"""

import asyncio
from collections.abc import AsyncIterator

from examples.offline_model import answer, count_tokens
from machpay import Chunk, Skill, SkillError, SkillInput, Usage

skill = Skill(
    id="premium-chat",
    name="Premium Chat",
    description="Answers a prompt and reports how far it is. Works offline.",
    streaming=True,
    pricing={
        "base_usd": 0.001,  # Base fee
        "per_token_usd": 0.00002,  # Per output token
        "per_second_usd": 0.0001,  # Per second streamed
    },
    timeout=60,
    # The same prompt gets the same answer: another worker can go on where a lost one was.
    on_interrupt="replay",
    input_schema={
        "type": "object",
        "properties": {"prompt": {"type": "string", "description": "What to answer."}},
    },
)


@skill.stream_handler
async def chat(input: SkillInput) -> AsyncIterator[Chunk | Usage]:
    prompt = input.data.get("prompt")
    if not isinstance(prompt, str):
        raise SkillError("prompt_missing", "The input needs a 'prompt': a text.")
    pieces = list(answer(prompt))
    for number, piece in enumerate(pieces, start=1):
        yield Chunk(piece, data={"progress": round(number / len(pieces), 3)})
        await asyncio.sleep(0.05)  # what a model takes for it
    yield Usage(tokens=count_tokens("".join(pieces)))  # what a model's API would have reported


if __name__ == "__main__":
    skill.serve(port=8080)

"""The guide's ``chat-assistant``: answers a prompt, a few words at a time.

Serve it by itself:         python -m examples.chat_assistant
Or let workers run it:      MACHPAY_SKILLS=examples.chat_assistant:skill
"""

import asyncio
from collections.abc import AsyncIterator

from examples.offline_model import answer
from machpay import Skill, SkillError, SkillInput

skill = Skill(
    id="chat-assistant",
    name="Chat Assistant",
    description="Answers a prompt. Works offline: it knows a few texts by heart.",
    price_usd=0.001,
    timeout=60,
    input_schema={
        "type": "object",
        "properties": {"prompt": {"type": "string", "description": "What to answer."}},
    },
)


@skill.stream_handler
async def chat(input: SkillInput) -> AsyncIterator[str]:
    prompt = input.data.get("prompt")
    if not isinstance(prompt, str):
        raise SkillError("prompt_missing", "The input needs a 'prompt': a text.")
    for piece in answer(prompt):
        yield piece
        await asyncio.sleep(0.05)  # what a model takes for it


if __name__ == "__main__":
    skill.serve(port=8080)

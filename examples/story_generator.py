"""The guide's skill, "Building Streaming Skills", with the import of ``time`` that it forgets.

Serve it by itself:         python -m examples.story_generator
Or let workers run it:      MACHPAY_SKILLS=examples.story_generator:skill  (what `make dev` does)
"""

import time
from collections.abc import Generator

from machpay import Skill, SkillInput

skill = Skill(
    id="story-generator",
    name="Story Generator",
    price_usd=0.01,
    streaming=True,  # Enable streaming
    input_schema={
        "type": "object",
        "properties": {
            "prompt": {
                "type": "string",
                "description": "What the story is about; this one ignores it.",
            }
        },
    },
)


@skill.stream_handler
def generate_story(input: SkillInput) -> Generator[str, None, None]:
    prompt = input.data.get("prompt", "")  # noqa: F841 - where an LLM's prompt would come from

    # Simulate LLM generation
    words = ["Once", "upon", "a", "time", "in", "a", "digital", "realm", "..."]

    for word in words:
        yield word + " "
        time.sleep(0.1)  # Simulate generation delay


if __name__ == "__main__":
    skill.serve(port=8080)

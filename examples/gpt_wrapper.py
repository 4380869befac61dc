"""The guide's ``gpt-wrapper``: OpenAI's SDK in a skill, with the tokens that OpenAI counts.

Needs ``pip install openai`` and ``OPENAI_API_KEY``. Offline, against the stand-in:

    python -m examples.llm_stand_in                        # in one terminal; says what to set
    MACHPAY_SKILLS=examples.gpt_wrapper:skill make dev     # in another
"""

from collections.abc import Iterator

from openai import OpenAI

from machpay import Skill, SkillInput, Usage

skill = Skill(id="gpt-wrapper", name="GPT", streaming=True, price_usd=0.002)
openai = OpenAI()


@skill.stream_handler
def chat(input: SkillInput) -> Iterator[str | Usage]:
    stream = openai.chat.completions.create(
        model="gpt-4",
        messages=[{"role": "user", "content": input.data["prompt"]}],
        stream=True,
        stream_options={"include_usage": True},
    )
    with stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content
            if chunk.usage is not None:
                yield Usage(tokens=chunk.usage.completion_tokens)


if __name__ == "__main__":
    skill.serve(port=8080)

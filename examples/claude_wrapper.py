"""The guide's ``claude-wrapper``: Anthropic's SDK in a skill, with the tokens that Anthropic counts.

Needs ``pip install anthropic`` and ``ANTHROPIC_API_KEY``. Offline, against the stand-in:

    python -m examples.llm_stand_in                          # in one terminal; says what to set
    MACHPAY_SKILLS=examples.claude_wrapper:skill make dev    # in another
"""

from collections.abc import Iterator

from anthropic import Anthropic

from machpay import Skill, SkillInput, Usage

skill = Skill(id="claude-wrapper", name="Claude", streaming=True, price_usd=0.003)
anthropic = Anthropic()


@skill.stream_handler
def chat(input: SkillInput) -> Iterator[str | Usage]:
    with anthropic.messages.stream(
        model="claude-3-opus-20240229",
        max_tokens=1024,
        messages=[{"role": "user", "content": input.data["prompt"]}],
    ) as stream:
        yield from stream.text_stream
        yield Usage(tokens=stream.get_final_message().usage.output_tokens)


if __name__ == "__main__":
    skill.serve(port=8080)

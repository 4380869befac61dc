"""A first client: run a skill and see its text as it is produced.

make dev                                                                # in one terminal
MACHPAY_BASE_URL=http://127.0.0.1:8080 python -m examples.client        # in another
"""

from machpay import MachPay


def main() -> None:
    client = MachPay()

    stream = client.skills.stream(
        skill_id="story-generator",
        input={"prompt": "Tell me a story about a digital realm"},
    )
    for chunk in stream:
        print(chunk.text, end="", flush=True)
    print()

    summary = stream.summary
    if summary is not None:
        print(f"{summary.tokens_used} tokens, ${summary.cost_usd}, {summary.duration_ms} ms")


if __name__ == "__main__":
    main()

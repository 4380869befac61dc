"""A language model's stand-in: fixed texts, a few words at a time. No network, no key, no dice.

What the examples put in an LLM's place. The same prompt always gets the same answer.
"""

import re
from collections.abc import Iterator
from typing import Final

_WORDS_AT_ONCE: Final = 3

_TEXTS: Final = {
    "quantum": (
        "An ordinary bit is a coin on the table: heads or tails. A qubit is the coin while it spins. "
        "It is described by how much of each there is in it, and only looking makes it fall to one "
        "side. Several qubits spin together: what one shows can depend on what the others show. A "
        "quantum computer nudges such coins so that wrong answers cancel each other out and the "
        "right one is what you are likely to see. That helps with a few problems, factoring large "
        "numbers or simulating molecules, and not at all with most others."
    ),
    "haiku": "Words arrive like rain,\none small drop and then the next.\nSoon there is a stream.",
    "stream": (
        "Streaming sends each piece of an answer as soon as there is one. The first words are on the "
        "screen at once, and whoever reads knows early whether the rest is worth waiting for."
    ),
}


def answer(prompt: str) -> Iterator[str]:
    """Yield an answer in pieces of a few words.

    Args:
        prompt: Any text; some words in it choose the answer.
    """
    lowered = prompt.lower()
    for word, text in _TEXTS.items():
        if word in lowered:
            yield from _pieces(text)
            return
    asked = " ".join(prompt.split()) or "nothing"
    yield from _pieces(
        f"You asked: {asked}. I am a stand-in for a language model and know only a few texts by "
        f"heart: ask me about quantum computing, about streaming, or for a haiku."
    )


def count_tokens(text: str) -> int:
    """Count the tokens of a text as this model does: one a word, and one a mark."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def _pieces(text: str) -> Iterator[str]:
    words = re.findall(r"\S+\s*", text)
    for start in range(0, len(words), _WORDS_AT_ONCE):
        yield "".join(words[start : start + _WORDS_AT_ONCE])

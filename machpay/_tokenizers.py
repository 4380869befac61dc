"""Counting output tokens as they come: exact at every chunk, and never the whole text again.

How a tokenizer splits text into tokens depends on what follows, but not past the end of a word: the
patterns of ``cl100k_base`` and ``o200k_base`` (openai/tiktoken, ``tiktoken_ext/openai_public.py``) never
match over a letter that white space follows, or punctuation other than an apostrophe. So what stands before it is counted once, and only the last
word again with each chunk.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Final, Literal, TypeAlias, get_args

from machpay._wire import well_formed

__all__ = ["BadCount", "TokenCount", "Tokenizer", "TokenizerName", "counter"]

TokenizerName: TypeAlias = Literal["o200k_base", "cl100k_base"]
"""Tokenizers that need nothing but ``pip install 'machpay[tokenizers]'``."""

Tokenizer: TypeAlias = Callable[[str], int]
"""Counts the tokens of a text."""

MOST: Final = 1 << 53
"""Past it, a JSON number is not exact in a browser."""

LONGEST_WORD: Final = 8192
"""After so many characters without the end of a word, the text is cut all the same."""

_word_end: Final = re.compile(
    r"[^\W\d_](?=[\s!-&(-/:-@\[-\^`{-~\u3001-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff20])"
)


class BadCount(Exception):
    """A tokenizer failed, or gave something that is not a number of tokens."""


class TokenCount:
    """How many tokens a text has that comes piece by piece.

    Args:
        tokenizer: Counts the tokens of a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._settled = 0
        self._rest = ""
        self.total: int = 0

    def copy(self) -> "TokenCount":
        """Return a count that goes on from here, apart from this one."""
        other = TokenCount(self._tokenizer)
        other._settled, other._rest, other.total = self._settled, self._rest, self.total
        return other

    def add(self, text: str) -> int:
        """Take the next piece; return how many tokens all of them have.

        Raises:
            BadCount: The tokenizer can't tell.
        """
        if text:
            # What was there before the piece had its last word end before it, or has it at its seam.
            seam = max(0, len(self._rest) - 1)
            self._rest += text
            end = 0
            for match in _word_end.finditer(self._rest, seam):
                end = match.end()
            if not end and len(self._rest) > LONGEST_WORD:
                end = len(self._rest)
            if end:
                self._settled += self._count(self._rest[:end])
                self._rest = self._rest[end:]
            self.total = self._settled + (self._count(self._rest) if self._rest else 0)
        return self.total

    def _count(self, text: str) -> int:
        try:
            tokens: object = self._tokenizer(text)
        except Exception as error:
            raise BadCount(f"the tokenizer raised {type(error).__qualname__}: {error}") from error
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 <= tokens <= MOST:
            raise BadCount(f"a tokenizer gives an int from 0 to 2**53, not {tokens!r:.100}")
        return tokens


def counter(tokenizer: object) -> Tokenizer | None:
    """Find what counts tokens.

    Args:
        tokenizer: What ``Skill(tokenizer=...)`` is given: a name, a function, or ``None``.

    Raises:
        ValueError: It is none of these, or the package that knows the name is not installed.
    """
    if tokenizer is None:
        return None
    if isinstance(tokenizer, str) and tokenizer in get_args(TokenizerName):
        return _named(tokenizer)
    if callable(tokenizer):
        return tokenizer
    names = " or ".join(repr(name) for name in get_args(TokenizerName))
    raise ValueError(f"tokenizer is {names}, or a function that counts, not {tokenizer!r:.100}")


@cache
def _named(name: str) -> Tokenizer:
    try:
        from bpe_openai import get_encoding  # noqa: PLC0415 - an extra of 40 MB, loaded on use
    except ImportError:
        raise ValueError(
            f"tokenizer={name!r} needs the extra: pip install 'machpay[tokenizers]'"
        ) from None
    encode = get_encoding(name).encode_ordinary

    def count(text: str) -> int:
        return len(encode(well_formed(text)))

    return count

"""What an execution of ours must say: a function of its input, so that anybody can recompute it."""

import hashlib
from typing import Final

_ODD: Final = (
    "\u2028",  # line and paragraph separators, and NEL: some SSE clients split lines there
    "\u2029",
    "\x85",
    "\n",
    "\r\n",
    "\0",
    '"\\/',
    "é",
    "日本語",
    "\U0001f426",
    "data: {}",
    "\n\nid: x\n\n",
)
"""What a careless encoder on the way would trip over."""


def pieces(seed: str, count: int, size: int = 0) -> list[str]:
    """Make the pieces of an output, one for each chunk.

    Args:
        seed: Of the execution.
        count: How many pieces.
        size: The least length of each, in characters.
    """
    return [_piece(seed, position, size) for position in range(count)]


def _piece(seed: str, position: int, size: int) -> str:
    digest = hashlib.sha256(f"{seed}/{position}".encode()).hexdigest()
    word = digest[: 4 + int(digest[-1], 16)]
    if int(digest[-2], 16) < 4:
        word += _ODD[int(digest[-4:-2], 16) % len(_ODD)]
    return (word + " ") * max(1, -(-size // (len(word) + 1)))

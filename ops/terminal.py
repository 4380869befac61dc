"""What the operator's commands look like in a terminal."""

import os
import sys
from typing import Final

STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
"""Style name -> SGR parameter (ECMA-48)."""


def styled(text: str, style: str) -> str:
    """Colour a text, where standard output is a terminal and nobody asked for plain text.

    Args:
        text: What to show.
        style: A key of :data:`STYLES`.
    """
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{STYLES[style]}m{text}\033[0m"


def say(text: str = "", *, end: str = "\n") -> None:
    """Print at once: what is said is about what happens right now."""
    print(text, end=end, flush=True)


def rows(pairs: dict[str, str], indent: str = "  ") -> str:
    """Lay out names and values in two columns."""
    width = max(map(len, pairs))
    return "\n".join(
        f"{indent}{styled(name.ljust(width), 'dim')}  {value}" for name, value in pairs.items()
    )

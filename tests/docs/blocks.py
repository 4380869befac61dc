"""The code blocks of our pages, as they are printed there: tests run these, never copies."""

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from markdown_it import MarkdownIt

ROOT: Final = Path(__file__).resolve().parents[2]

_GENERATED: Final = ("docs/_build/", "docs/reference/node/")


def pages() -> list[str]:
    """List the pages where every block in one of the languages below has a test."""
    found = [
        "README.md",
        "node/README.md",
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
    ]
    return sorted(
        page for page in found if (ROOT / page).exists() and not page.startswith(_GENERATED)
    )


TESTED: Final = frozenset(
    {"python", "typescript", "javascript", "tsx", "ts", "js", "bash", "sh", "shell"}
)

claimed: Final[set["Block"]] = set()
"""What the test modules that were imported run."""


class Block(NamedTuple):
    """A fenced block of code.

    Attributes:
        page: Its page, from the project's root on.
        heading: The last heading before it.
        language: As the fence says.
        number: Which one it is of its language under its heading: 0, 1, ...
        text: What it holds.
    """

    page: str
    heading: str
    language: str
    number: int
    text: str

    @property
    def name(self) -> str:
        """A name for a file or a module: ``streaming_responses_python_0``."""
        words = f"{Path(self.page).stem} {self.heading} {self.language} {self.number}"
        return "".join(letter if letter.isalnum() else "_" for letter in words.lower())


@cache
def blocks_of(page: str) -> tuple[Block, ...]:
    """Read the blocks of a page, in order.

    Args:
        page: From the project's root on.
    """
    found: list[Block] = []
    path: dict[int, str] = {}
    tokens = MarkdownIt().parse((ROOT / page).read_text())
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            level = int(token.tag[1:])
            path = {depth: text for depth, text in path.items() if depth < level}
            path[level] = tokens[position + 1].content
        elif token.type == "fence" and token.info.strip():
            # "Building Streaming Skills > Python": a page may have several headings of a name.
            heading = " > ".join(path[depth] for depth in sorted(path) if depth > 1)
            language = token.info.split()[0]
            number = sum(
                1 for block in found if (block.heading, block.language) == (heading, language)
            )
            found.append(Block(page, heading, language, number, token.content))
    return tuple(found)


def claim(page: str, heading: str, language: str, number: int = 0) -> Block:
    """Find a block for a test that runs it; to be called where a test module is imported.

    Raises:
        LookupError: There is none; with those that there are.
    """
    for block in blocks_of(page):
        if block[1:4] == (heading, language, number):
            claimed.add(block)
            return block
    there = "\n".join(
        f"  {block.heading!r}, {block.language!r}, {block.number}" for block in blocks_of(page)
    )
    raise LookupError(f"{page} has no {(heading, language, number)}; it has\n{there}")

"""The Node.js reference, as TypeDoc writes it, made fit for this site.

* Its anchors become targets that Sphinx knows, so that a link to one that is not there is an error.
* What a class only inherits is left out where the class it comes from is described on the same page: the
  errors are one class and a list of names then.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from sphinx.application import Sphinx

_FOLDER: Final = "reference/node/"
_ANCHOR: Final = re.compile(r'<a id="([\w-]+)"></a>')
_INHERITED: Final = "Inherited from"
_INHERITED_HERE: Final = re.compile(r"^#+ Inherited from\n\n\[", flags=re.MULTILINE)
"""From a class that is linked to, and so is described here."""


def _adapt(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname.startswith(_FOLDER):
        text = "\n".join(_without_inherited(source[0]))
        source[0] = _ANCHOR.sub(r"[]{#\1}", text)


def _without_inherited(text: str) -> Iterator[str]:
    """Yield a page's lines without members that say where they are inherited from."""
    for section in _sections(text, 4):
        if section[0].startswith("#### Constructors") and _INHERITED_HERE.search(
            "\n".join(section)
        ):
            continue
        kept = list(_rows(section))
        if kept[0].startswith("#### Properties") and not any(_is_row(line) for line in kept):
            continue
        yield from kept


def _sections(text: str, level: int) -> Iterator[list[str]]:
    """Yield a page in pieces that begin at headings of a level, or of one above it."""
    heading = re.compile(rf"#{{1,{level}}} ")
    section: list[str] = []
    anchors: list[str] = []  # stand before the heading that they are of
    for line in text.splitlines():
        if heading.match(line) and section:
            yield section
            section = anchors
            anchors = []
        elif anchors and line.strip():
            section += anchors
            anchors = []
        if _ANCHOR.fullmatch(line) or (anchors and not line.strip()):
            anchors.append(line)
        else:
            section.append(line)
    yield section + anchors


def _rows(section: list[str]) -> Iterator[str]:
    """Yield a section's lines without rows of a table that say where they are inherited from."""
    inherited = False
    for line in section:
        if not line.startswith("|"):
            inherited = False
        elif line.rstrip("| ").endswith(_INHERITED):
            inherited = True
        elif inherited and _is_row(line) and line.split(" | ")[-1].startswith("["):
            continue
        yield line


def _is_row(line: str) -> bool:
    return line.startswith("| <a id=")


def setup(app: Sphinx) -> dict[str, Any]:
    """Become a part of Sphinx."""
    app.connect("source-read", _adapt)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

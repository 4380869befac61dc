"""Links from pages to files beside ``docs/``: to the page that includes them, else to a copy.

On GitHub ``../CHANGELOG.md`` is right. Here that file is a page of its own.
"""

from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx

_PAGES: Final = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "bench/results/results.md": "bench-results",
}
"""File, from the project's root on -> the page that includes it."""


def _to_files(app: Sphinx, document: nodes.document) -> None:
    for reference in list(document.findall(pending_xref)):
        path = _file_of(app, reference)
        if path is not None:
            reference.replace_self(_link(app, path, reference))


def _file_of(app: Sphinx, reference: pending_xref) -> str | None:
    """Find the file beside ``docs/`` that a link leads to, from the project's root on."""
    if reference.get("reftype") != "myst":
        return None
    docs = Path(app.srcdir)
    root = docs.parent
    target = str(reference["reftarget"])
    if reference.get("refdomain") == "doc":
        # MyST has made it a name of a page, from docs/ on and without its suffix.
        path = (docs / f"{target}.md").resolve()
    elif app.env.docname in _PAGES.values():
        path = (root / target).resolve()  # what is included there was written for the root
    else:
        return None
    if path.is_relative_to(docs) or not path.is_relative_to(root) or not path.is_file():
        return None
    return path.relative_to(root).as_posix()


def _link(app: Sphinx, path: str, reference: pending_xref) -> nodes.Element:
    here = app.env.docname
    link: nodes.Element
    if path in _PAGES:
        uri = app.builder.get_relative_uri(here, _PAGES[path])
        link = nodes.reference("", "", internal=True, refuri=uri)
    else:
        up = "../" * (here.count("/") + 1)
        link = download_reference("", "", refdoc=here, reftarget=f"{up}{path}", reftype="download")
    link += reference.children
    return link


def setup(app: Sphinx) -> dict[str, Any]:
    """Become a part of Sphinx."""
    # Before Sphinx looks for what is to be copied.
    app.connect("doctree-read", _to_files, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

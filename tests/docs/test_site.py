"""The site is built, whole and without dead links; links elsewhere in the checkout lead somewhere, too."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from sphinx.util.inventory import InventoryFile

import machpay
from machpay import exceptions
from machpay.serve.openapi import document
from ops.site import NODE_REFERENCE, build_site
from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built; whatever is wrong in it fails here, and says where."""
    output = tmp_path_factory.mktemp("site") / "html"
    build_site(output)
    return output


def test_every_page_is_built(site: Path) -> None:
    sources = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert sources <= built


def test_every_public_name_is_in_the_python_reference(site: Path) -> None:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    described = {name for kind in inventory.data.values() for name in kind}
    public = {f"machpay.{name}" for name in machpay.__all__ if name != "__version__"}
    public |= {
        f"machpay.exceptions.{name}" for name in exceptions.__all__ if name not in machpay.__all__
    }
    assert sorted(public - described) == []


def test_every_operation_is_on_the_page_of_the_http_api(site: Path) -> None:
    page = (site / "protocol-reference" / "api-specs.html").read_text()
    text = re.sub(r"<[^>]+>", "", page)
    for path, item in document()["paths"].items():
        for method in item:
            assert f"{method.upper()} {path}" in text


class Loads(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = {"link": "href", "script": "src", "img": "src", "iframe": "src"}.get(tag, "")
        if url := given.get(wanted):
            self.urls.append(url)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = Loads()
    for page in site.rglob("*.html"):
        loads.feed(page.read_text())
    assert loads.urls
    assert [url for url in loads.urls if re.match(r"(https?:)?//", url)] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", styles) == []


# -- links in pages as they lie in the checkout


def pages() -> list[str]:
    found = [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
        *(ROOT / "tests").rglob("*.md"),
        ROOT / "node" / "README.md",
    ]
    ignored = {"node_modules", "build"}
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in found
        if path.exists()
        and not ignored & set(path.parts)
        and not path.is_relative_to(NODE_REFERENCE)
    )


@pytest.mark.parametrize("page", pages())
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page: str) -> None:
    assert [link for link in links(page) if not exists(page, link)] == []


def test_a_dead_link_would_be_noticed() -> None:
    assert exists("README.md", "docs/protocol.md#cursors")
    assert not exists("README.md", "docs/protocol.md#cursor")
    assert not exists("README.md", "docs/nothing.md")
    assert not exists("docs/errors.md", "#nothing")


@cache
def tokens(path: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(path.read_text())


def links(page: str) -> Iterator[str]:
    for token in tokens(ROOT / page):
        for part in token.children or ():
            href = part.attrGet("href") or part.attrGet("src")
            if href and not re.match(r"[a-z]+:", str(href)):
                yield str(href)


def exists(page: str, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    base = DOCS if path.startswith("/") else (ROOT / page).parent  # "/": as the guide has it
    target = (base / path.lstrip("/")).resolve() if path else ROOT / page
    if target.is_relative_to(NODE_REFERENCE):
        return True  # made when the site is
    return target.exists() and (not anchor or anchor in anchors(target))


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    parsed = tokens(path)
    for position, token in enumerate(parsed):
        if token.type == "heading_open":
            heading = parsed[position + 1].content
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            number = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
            found.add(f"{slug}-{number}" if number else slug)
    return found

"""The files of the pages: what is served, how, and that nothing else is."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from edge.app import create_app
from edge.pages import FOLDER, page_routes
from machpay.serve.routes import EXCEPTION_HANDLERS
from shared.settings import Settings


def client_of(folder: Path = FOLDER) -> TestClient:
    return TestClient(Starlette(routes=page_routes(folder), exception_handlers=EXCEPTION_HANDLERS))


@pytest.fixture
def pages() -> Iterator[TestClient]:
    with client_of() as client:
        yield client


def test_the_playground_is_what_one_sees_first(pages: TestClient) -> None:
    answer = pages.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == (FOLDER / "index.html").read_text()


def test_everything_that_the_pages_name_is_there_and_nothing_is_elsewhere(
    pages: TestClient,
) -> None:
    named = set()
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert "//cdn" not in text
        named |= set(re.findall(r'(?:src|href)="(/pages/[^"]+)"', text))
        named |= {f"/pages/{name}" for name in re.findall(r"from '\./([\w.]+)'", text)}
    assert len(named) > 10
    for url in named:
        assert pages.get(url).status_code == 200, url
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', html)
    assert not re.search(
        r"\son\w+=|\sstyle=|<style|<script(?![^>]*src=)", html
    )  # the policy bars it


@pytest.mark.parametrize(
    "url", ["/", "/pages/playground.js", "/pages/style.css", "/pages/icon.svg"]
)
def test_every_file_comes_under_a_strict_policy(pages: TestClient, url: str) -> None:
    headers = pages.get(url).headers
    policy = dict(
        directive.split(" ", 1) for directive in headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"


def test_who_has_a_file_gets_it_once(pages: TestClient) -> None:
    first = pages.get("/pages/style.css")
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = pages.get("/pages/style.css", headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert "content-security-policy" in again.headers
    other = pages.get("/pages/style.css", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.text) == (200, first.text)
    assert pages.get("/pages/api.js").headers["etag"] != tag


def test_head_says_what_get_would(pages: TestClient) -> None:
    for url in ("/", "/pages/api.js"):
        head, got = pages.head(url), pages.get(url)
        assert head.status_code == 200
        for name in ("content-length", "content-type", "etag", "content-security-policy"):
            assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    "url",
    ["/pages/", "/pages/nothing.js", "/pages/index.html", "/pages/%2e%2e/app.py", "/pages/..%2fapp.py",
     "/pages/app.py", "/pages//etc/passwd", "/pages/%00"],
)  # fmt: skip
def test_nothing_else_is_served(pages: TestClient, url: str) -> None:
    answer = pages.get(url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert pages.post("/").status_code == 405


def test_what_is_put_there_later_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "ops.html").write_text("<!doctype html>")
    (tmp_path / "notes.txt").write_text("of ours")
    with client_of(tmp_path) as pages:
        (tmp_path / "late.js").write_text("late")
        assert pages.get("/ops").status_code == 200
        for url in ("/", "/pages/notes.txt", "/pages/late.js", "/pages/ops.html"):
            assert pages.get(url).status_code == 404, url


def test_an_operator_may_have_no_pages() -> None:
    app = create_app(Settings.from_environ({"MACHPAY_PAGES": "false"}))
    assert not {"/", "/pages/{name}"} & {getattr(route, "path", "") for route in app.routes}
    assert "/" in {getattr(route, "path", "") for route in create_app(Settings()).routes}

"""Clients that others wrote, as ``docs/sse-clients.md`` says to use them, through every kind of drop."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ops.npm import Node
from tests.clients.journey import EVERY_FAULT, SILENCE, Journey
from tests.clients.running import EVENT_SOURCE, FETCH, NODE, PROGRAMS, Program
from tests.clients.stories import Stories
from tests.docs.running import run
from tests.waiting import wait_until

HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""

FORGETFUL = """(url) => new Promise((resolve) => {
  const source = new EventSource(url);
  const seen = [];
  source.addEventListener('end', () => seen.push('end'));
  source.addEventListener('error', () => {
    seen.push(source.readyState);
    if (source.readyState === EventSource.CLOSED) resolve(seen);
  });
})"""


def check(journey: Journey, stories: Stories, prompt: str, text: str) -> str:
    """Check that one execution was started, and that a client got all of it once; returns its id."""
    (execution_id,) = stories.started(prompt)
    assert text == stories.text(execution_id)
    cursors = [request.cursor for request in journey.streams]
    resumed = [cursor for cursor in cursors if cursor]
    assert {cursor.partition(".")[0] for cursor in resumed} == {execution_id}
    # Only what had no event yet is without a cursor.
    assert cursors == ["", "", *resumed]
    return execution_id


@pytest.fixture
def page(browser: Browser, programs: dict[str, Program]) -> Iterator[Page]:
    """A page; the programs are at work meanwhile."""
    opened = browser.new_page()
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


def show(page: Page, journey: Journey, script: str, prompt: str) -> None:
    """Open a page of the edge's origin that tells a story."""
    use = f"""
      tell({prompt!r}, (text) => document.getElementById('output').append(text))
        .then(({{ costUsd }}) => {{ document.title = costUsd; }}, (error) => {{
          document.title = `failed: ${{error.message}}`;
        }});"""

    def answer(route: Route) -> None:
        html = f"<!doctype html><pre id=output></pre><script type=module>{script}{use}</script>"
        route.fulfill(content_type="text/html; charset=utf-8", body=html)

    page.route(f"{journey.url}/page", answer)
    page.goto(f"{journey.url}/page")


def told(page: Page) -> str:
    """Wait for the end of the story, and return what the page shows."""
    expect(page).to_have_title("0.01", timeout=30_000)
    return page.locator("#output").text_content() or ""


def bundle(node: Node | None, text: str) -> str:
    """Bundle a block for a page; it stays a module that has ``tell``."""
    if node is None:
        pytest.skip("there is no Node.js, or no registry to install its packages from")
    esbuild = NODE / "node_modules" / "esbuild" / "bin" / "esbuild"
    source = NODE / "node_modules" / ".tell.mjs"
    source.write_text(text)
    built = run(
        [node.path, str(esbuild), str(source), "--bundle", "--format=esm"], NODE, node.environment()
    )
    assert built.code == 0, built.err
    return built.out


def test_an_event_source_resumes_and_ends(page: Page, stories: Stories) -> None:
    with stories.journey(EVERY_FAULT) as journey:
        show(page, journey, EVENT_SOURCE.text, "EventSource")
        execution_id = check(journey, stories, "EventSource", told(page))
        before = len(journey.requests)
        # One that nobody closes comes back once, with the cursor of the end, and is told to stay away.
        seen = page.evaluate(FORGETFUL, f"/v1/executions/{execution_id}/stream")
        assert seen == ["end", 0, 2]
        assert [bool(request.cursor) for request in journey.requests[before:]] == [False, True]


def test_fetch_event_source_resumes_and_ends(
    page: Page, stories: Stories, node: Node | None
) -> None:
    script = bundle(node, FETCH.text)
    with stories.journey(EVERY_FAULT) as journey:
        show(page, journey, script, "fetch-event-source")
        check(journey, stories, "fetch-event-source", told(page))
        requests = list(journey.streams)
        page.evaluate("fetch('/healthz')")
        assert journey.streams == requests


def test_a_tab_that_is_hidden_and_shown_starts_nothing_new(
    page: Page, stories: Stories, node: Node | None
) -> None:
    """As fetch-event-source does it when it is not told ``openWhenHidden``."""
    text = FETCH.text.replace("    openWhenHidden: true,\n", "")
    assert text != FETCH.text
    with stories.journey([SILENCE]) as journey:
        show(page, journey, bundle(node, text), "tab")
        wait_until(lambda: journey.streams, "it has asked")
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)
        expect(page.locator("#output")).to_contain_text("1 ")
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)
        check(journey, stories, "tab", told(page))
        requests = list(journey.streams)
        page.evaluate(HIDE, True)
        page.evaluate(HIDE, False)
        page.evaluate("fetch('/healthz')")
        assert journey.streams == requests


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_resumes_and_ends(
    name: str, programs: dict[str, Program], stories: Stories
) -> None:
    if name not in programs:
        pytest.skip("there is no Node.js, or no registry to install its packages from")
    program = programs[name]
    ran = program.end()
    assert ran.code == 0, ran
    check(program.journey, stories, name, text_of(program) if name == "curl" else ran.out)


def text_of(program: Program) -> str:
    """Read the text from whole events, as curl's program saves them."""
    blocks = program.file("events").split("\n\n")
    assert blocks.pop() == ""
    texts = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line != ":")
        if fields["event"] == "chunk":
            texts.append(json.loads(fields["data"])["text"])
    return "".join(texts)

"""Clients that others wrote, as ``docs/sse-clients.md`` says to use them, through every kind of drop."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ops.cut import CuttableProxy
from ops.npm import Node
from tests.clients.conftest import RunAll
from tests.clients.journey import EVERY_FAULT, SILENCE, Journey
from tests.clients.running import EVENT_SOURCE, FETCH, NODE, PAGE, PROGRAMS, Program
from tests.clients.skills import SAD
from tests.clients.stories import Stories
from tests.docs.blocks import ROOT
from tests.docs.running import run
from tests.waiting import wait_until

NO_NODE = "there is no Node.js, or no registry to install its packages from"

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
    first, second, *rest = [request.cursor for request in journey.streams]
    # Nothing had come yet. After that, a reset may have taken everything with it once more.
    assert (first, second) == ("", "")
    resumed = rest if rest[0] else rest[1:]
    assert {cursor.partition(".")[0] for cursor in resumed} == {execution_id}
    return execution_id


@pytest.fixture
def page(browser: Browser, programs: object) -> Iterator[Page]:
    """A page; the programs are at work meanwhile."""
    opened = browser.new_page()
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


def show(page: Page, journey: Journey | CuttableProxy, script: str, prompt: str) -> None:
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


def bundle(node: Node | None, text: str, folder: Path) -> str:
    """Bundle a block for a page; it stays a module that has ``tell``."""
    if node is None:
        pytest.skip(NO_NODE)
    esbuild = NODE / "node_modules" / "esbuild" / "bin" / "esbuild"
    source = folder / "tell.mjs"
    source.write_text(text)
    command = [node.path, str(esbuild), str(source), "--bundle", "--format=esm"]
    variables = {**node.environment(), "NODE_PATH": str(NODE / "node_modules")}
    built = run(command, NODE, variables)
    assert built.code == 0, built.err
    return built.out


def test_an_event_source_resumes_and_ends(page: Page, stories: Stories) -> None:
    with stories.journey(EVERY_FAULT) as journey:
        show(page, journey, EVENT_SOURCE.text, "EventSource")
        execution_id = check(journey, stories, "EventSource", told(page))
        # One that nobody closes comes back once, with the cursor of the end, and is told to stay away.
        seen = page.evaluate(FORGETFUL, f"/v1/executions/{execution_id}/stream")
        assert seen == ["end", 0, 2]
        cursors = [request.cursor for request in journey.streams]
        assert cursors[-2] == ""
        assert cursors.count(cursors[-1]) == 1, "the other one was closed"


def test_fetch_event_source_resumes_and_ends(
    page: Page, stories: Stories, node: Node | None, tmp_path: Path
) -> None:
    script = bundle(node, FETCH.text, tmp_path)
    with stories.journey(EVERY_FAULT) as journey:
        show(page, journey, script, "fetch-event-source")
        check(journey, stories, "fetch-event-source", told(page))
        requests = list(journey.streams)
        page.evaluate("fetch('/healthz')")
        assert journey.streams == requests


def test_a_tab_that_is_hidden_and_shown_starts_nothing_new(
    page: Page, stories: Stories, node: Node | None, tmp_path: Path
) -> None:
    """As fetch-event-source does it when it is not told ``openWhenHidden``."""
    text = FETCH.text.replace("    openWhenHidden: true,\n", "")
    assert text != FETCH.text
    with stories.journey([SILENCE]) as journey:
        show(page, journey, bundle(node, text, tmp_path), "tab")
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
    name: str, programs: dict[str, tuple[Program, Journey]], stories: Stories
) -> None:
    if name not in programs:
        pytest.skip(NO_NODE)
    program, journey = programs[name]
    ran = program.end()
    assert ran.code == 0, ran
    check(journey, stories, name, program.text)


def test_every_client_is_told_of_a_failure(page: Page, run_all: RunAll, stories: Stories) -> None:
    running = run_all(SAD, stories.url, *PROGRAMS)
    with stories.journey([]) as journey:
        show(page, journey, EVENT_SOURCE.text, SAD)
        expect(page).to_have_title("failed: It ran out of ink.")
        assert len(journey.streams) == 1
    for name, program in running.items():
        ran = program.end()
        assert (ran.code != 0 or name == "curl", program.text) == (True, "Once "), name
        assert "no_ink" in program.failure, name


def test_every_client_gives_up_when_it_is_refused(
    page: Page, run_all: RunAll, stories: Stories
) -> None:
    with stories.misled() as misled:
        # Those that get a status by themselves: Python's raise for it.
        running = run_all("a realm", misled.url, "eventsource", "eventsource-client", "curl")
        show(page, misled, EVENT_SOURCE.text, "a realm")
        expect(page).to_have_title("failed: refused")
        for name, program in running.items():
            assert program.end().code > 0, name
            assert re.search("404|skill_not_found", program.failure), name


def test_fetch_event_source_ends_when_it_fails_or_is_refused(
    page: Page, stories: Stories, node: Node | None, tmp_path: Path
) -> None:
    script = bundle(node, FETCH.text, tmp_path)
    with stories.journey([]) as journey, stories.misled() as misled:
        show(page, journey, script, SAD)
        expect(page).to_have_title(re.compile("failed: .*no_ink"))
        show(page, misled, script, "a realm")
        expect(page).to_have_title(re.compile("failed: .*skill_not_found"))


def test_the_page_names_the_versions_that_are_tested() -> None:
    packages = json.loads((NODE / "package.json").read_text())["dependencies"]
    packages |= {name: version(name) for name in PROGRAMS if PROGRAMS[name].language == "python"}
    del packages["esbuild"]
    rows = re.findall(r"^\| \[`(.+?)`\]\(.+?\) ([0-9.]+)", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert dict(rows) == packages

"""Pages in a real Chromium behind the proxies: native EventSource, over HTTP/2."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response, Route

from ops.system import System
from tests.browser import open_browser
from tests.proxies.conftest import NAMES, Fronts
from tests.proxies.shipped import Proxy
from tests.proxies.stub import StubEdge
from tests.waiting import wait_until

PAGE = """<!doctype html><meta charset=utf-8><script>
const streams = [];
function follow(url) {
  const source = new EventSource(url);
  const stream = {source, text: '', starts: 0, failures: 0, ended: false, dead: false};
  const take = event => { stream.text += JSON.parse(event.data).text; };
  source.onmessage = take;
  source.addEventListener('chunk', take);
  source.addEventListener('start', () => { stream.starts += 1; });
  source.addEventListener('end', () => { stream.ended = true; source.close(); });
  source.onerror = () => {
    stream.failures += 1;
    stream.dead = !stream.ended && source.readyState === EventSource.CLOSED;
  };
  streams.push(stream);
}
async function start(folder, n) {
  const body = JSON.stringify({input: {folder, n}});
  const answer = await fetch('/v1/skills/step/executions', {method: 'POST', body});
  return (await answer.json()).stream_url;
}
</script>"""

MANY = 12
"""More streams than the six connections that a browser opens to a site over HTTP/1.1."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Without a proxy of this machine's: it has no business between us and loopback.
    with open_browser("--ignore-certificate-errors", "--no-proxy-server") as opened:
        yield opened


def open_at(browser: Browser, front: Proxy) -> Page:
    """Open our page as one of the proxy's own site."""

    def answer(route: Route) -> None:
        route.fulfill(content_type="text/html; charset=utf-8", body=PAGE)

    page = browser.new_page()
    page.set_default_timeout(20_000)
    page.route(f"{front.url}/page", answer)
    page.goto(f"{front.url}/page")
    return page


def wait_for(page: Page, condition: str) -> None:
    """Wait until a condition holds of every stream of a page."""
    page.wait_for_function(f"() => streams.every(stream => {condition})")


def test_a_page_has_twelve_live_streams_at_once(
    browser: Browser, front: Proxy, system: System, tmp_path: Path
) -> None:
    page = open_at(browser, front)
    url = page.evaluate("folder => start(folder, 3)", str(tmp_path))
    for number in range(MANY):
        page.evaluate("url => follow(url)", f"{url}?reader={number}")
    wait_for(page, "stream.starts === 1")
    for number in range(3):
        # Each has what there is before more is made.
        (tmp_path / str(number)).touch()
        wait_for(page, f"stream.text === '{''.join(f'{n} ' for n in range(number + 1))}'")
    wait_for(page, "stream.ended")
    entries = page.evaluate("performance.getEntriesByType('resource').map(e => e.toJSON())")
    protocols = [entry["nextHopProtocol"] for entry in entries if "/stream?" in entry["name"]]
    assert protocols == MANY * ["h2"]
    page.close()


def test_a_browser_does_not_repeat_a_start_whose_edge_hung_up(
    browser: Browser, stub_front: Proxy, stubs: tuple[StubEdge, StubEdge]
) -> None:
    """Over HTTP/2 a proxy can say that a request was not processed; then browsers send it again."""
    for stub in stubs:
        stub.requests.clear()
    page = open_at(browser, stub_front)
    starts = [
        ("GET", "/api/stream?do=die&as=events", "text/event-stream"),
        ("GET", "/api/stream?do=die&as=anything", "*/*"),
        ("POST", "/api/stream?do=die", "*/*"),
        ("POST", "/v1/skills/any/stream?do=die", "text/event-stream"),
    ]
    for method, target, accept in starts:
        page.evaluate(
            """([method, target, accept]) =>
                fetch(target, {method, headers: {accept}}).then(answer => answer.text())""",
            [method, target, accept],
        )
        asked = [request for stub in stubs for request in stub.requests]
        assert asked.count(f"{method} {target}") <= 1
    asked = [request for stub in stubs for request in stub.requests]
    # An edge that has just failed may be left alone for a moment; not all of them all the time.
    assert asked
    page.close()


class Tab:
    """A page behind one proxy, with its own executions.

    Args:
        browser: Where it is opened.
        front: The proxy.
        folder: Where its executions are stepped.
    """

    def __init__(self, browser: Browser, front: Proxy, folder: Path) -> None:
        self.front = front
        self.folder = folder
        self.answers: list[tuple[int, str]] = []
        self.page = open_at(browser, front)
        self.page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if "/api/stream" in response.url:
            self.answers.append((response.status, response.headers.get("content-type", "")))

    def follow(self, name: str, n: int) -> None:
        """Have an EventSource start an execution."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        self.page.evaluate(
            "url => follow(url)",
            f"/api/stream?folder={folder}&n={n}&idempotency_key={self.front.name}-{name}"
            f"&prompt=CANARY",
        )

    def runs(self, name: str) -> list[str]:
        """List the runs of an execution's handler."""
        return (self.folder / name / "runs").read_text().splitlines()


def step(tabs: list[Tab], name: str, number: int) -> None:
    """Let a chunk be made, and wait until all pages have it."""
    for tab in tabs:
        (tab.folder / name / str(number)).touch()
    text = "".join(f"{n} " for n in range(number + 1))
    for tab in tabs:
        tab.page.wait_for_function("text => streams[0].text === text", arg=text)


def meet_nobody(tabs: list[Tab]) -> None:
    """Wait until every stream of every page has come back in vain."""
    for tab in tabs:
        wait_for(tab.page, "stream.source.readyState === EventSource.CONNECTING")
        tab.page.evaluate("streams.forEach(stream => { stream.before = stream.failures; })")
    for tab in tabs:
        wait_for(tab.page, "stream.failures > stream.before")


def end(system: System, *names: str, how: int = signal.SIGTERM) -> None:
    """End edges, all at once."""
    for name in names:
        os.kill(system.children[name].pid, how)
    for name in names:
        child = system.children[name]
        wait_until(lambda child=child: child.returncode is not None, f"{name} ends")  # type: ignore[misc]


def begin(system: System, *names: str) -> None:
    """Start edges again, where they were, all at once."""
    for name in names:
        system.spawn("edge", name)
    for name in names:
        wait_until(lambda name=name: is_ready(system, name), f"{name} is ready")  # type: ignore[misc]


def is_ready(system: System, name: str) -> bool:
    try:
        answer = httpx.get(f"{system.url_of(name)}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def test_an_event_source_lives_through_everything_that_is_temporary(
    browser: Browser, fronts: Fronts, system: System, tmp_path: Path
) -> None:
    """One story for all three, since each edge that starts costs a second."""
    tabs = [Tab(browser, fronts(name), tmp_path / name) for name in NAMES]
    for tab in tabs:
        tab.follow("whole", n=5)
    step(tabs, "whole", 0)

    # A deploy: one edge after the other; the second one is killed.
    end(system, "edge.1")
    begin(system, "edge.1")
    step(tabs, "whole", 1)
    end(system, "edge.2", how=signal.SIGKILL)
    begin(system, "edge.2")
    step(tabs, "whole", 2)

    # Both at once.
    end(system, "edge.1", "edge.2")
    meet_nobody(tabs)
    begin(system, "edge.1", "edge.2")
    step(tabs, "whole", 3)

    # Redis hangs; whoever comes back to the edge that is left meets that, and so do new pages.
    assert system.valkey is not None
    os.kill(system.valkey.pid, signal.SIGSTOP)
    try:
        end(system, "edge.1")
        for tab in tabs:
            tab.follow("new", n=1)
            tab.page.wait_for_function("streams[1].failures >= 1")
    finally:
        os.kill(system.valkey.pid, signal.SIGCONT)
    begin(system, "edge.1")
    step(tabs, "whole", 4)

    for tab in tabs:
        (tab.folder / "new" / "0").touch()
        wait_for(tab.page, "stream.ended")
        seen = tab.page.evaluate("streams.map(({text, starts, dead}) => [text, starts, dead])")
        assert seen == [["0 1 2 3 4 ", 1, False], ["0 ", 1, False]]
        assert [len(tab.runs(name)) for name in ("whole", "new")] == [1, 1]
        kinds = {(status, kind.partition(";")[0]) for status, kind in tab.answers}
        assert kinds == {(200, "text/event-stream")}
        assert "CANARY" not in tab.front.logs()
        tab.page.close()
    for log in (system.directory / "logs").glob("edge.*.log"):
        assert "CANARY" not in log.read_text()

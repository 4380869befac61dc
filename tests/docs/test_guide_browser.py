"""The guide's two browser blocks, as they are printed, in a real Chromium at a real edge."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from examples.offline_model import answer
from ops.npm import NodeMissing, RegistryUnreachable, ensure_installed
from ops.system import System
from tests.browser import open_page
from tests.docs.blocks import claim
from tests.docs.guide import GUIDE
from tests.docs.running import run, write

REACT = claim(GUIDE, "Frontend Integration > React with SSE", "tsx")
VANILLA = claim(GUIDE, "Frontend Integration > Vanilla JavaScript", "javascript")

HAIKU = "".join(answer("Write a haiku about AI"))
PAGE = Path(__file__).parent / "page"

MOUNT = """
import { createRoot } from 'react-dom/client';

createRoot(document.getElementById('root')!).render(
  <ChatMessage prompt="Write a haiku about AI" />
);
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_page() as opened:
        assert opened.context.browser is not None
        yield opened.context.browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_page() as opened:
        opened.set_default_timeout(20_000)
        yield opened


def show(page: Page, system: System, body: str, script: str) -> list[str]:
    """Open a page of ours at the edge's own address; returns its requests as they are made."""

    def answer_page(route: Route) -> None:
        html = f"<!doctype html><meta charset=utf-8>{body}<script type=module>{script}</script>"
        route.fulfill(content_type="text/html; charset=utf-8", body=html)

    requests: list[str] = []
    page.on("request", lambda request: requests.append(f"{request.method} {request.url}"))
    page.route(f"{system.url}/page", answer_page)
    page.goto(f"{system.url}/page")
    return requests


def bundle(source: Path) -> str:
    """Bundle a component with React."""
    try:
        node = ensure_installed(PAGE)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))
    esbuild = PAGE / "node_modules" / "esbuild" / "bin" / "esbuild"
    command = [node.path, str(esbuild), str(source), "--bundle", "--jsx=automatic"]
    variables = {**node.environment(), "NODE_PATH": str(PAGE / "node_modules")}
    built = run(command, PAGE, variables)
    assert built.code == 0, built.err
    return built.out.replace("</script", "<\\/script")


def test_the_react_component_shows_the_text_as_it_comes(
    page: Page, system: System, tmp_path: Path
) -> None:
    script = bundle(write(REACT, tmp_path, after=MOUNT, suffix=".tsx"))
    requests = show(page, system, "<div id=root></div>", script)
    message = page.locator(".message")
    expect(message.locator(".cursor")).to_be_visible()
    expect(message).to_have_text(HAIKU, use_inner_text=False)
    expect(message.locator(".cursor")).to_have_count(0)
    streams = [request for request in requests if "/api/stream" in request]
    assert streams == [f"GET {system.url}/api/stream?prompt=Write%20a%20haiku%20about%20AI"]


def test_the_vanilla_function_writes_the_text(page: Page, system: System) -> None:
    use = "streamResponse('Write a haiku about AI').then(() => document.title = 'done');"
    requests = show(page, system, "<pre id=output></pre>", f"{VANILLA.text}\n{use}")
    expect(page).to_have_title("done")
    expect(page.locator("#output")).to_have_text(HAIKU)
    assert [request for request in requests if "/api/stream" in request] == [
        f"POST {system.url}/api/stream"
    ]

"""``examples/react-chat``: the guide's component in a Vite app, built and used as a person would."""

import mimetypes
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from redis import Redis

from examples.offline_model import answer
from ops.npm import Node, NodeMissing, RegistryUnreachable, ensure_installed
from ops.system import System
from tests.browser import open_page
from tests.docs.blocks import ROOT, claim
from tests.docs.guide import GUIDE
from tests.docs.running import run

REACT = claim(GUIDE, "Frontend Integration > React with SSE", "tsx")
APP = ROOT / "examples" / "react-chat"

FIRST, SECOND = "Write a haiku about AI", "Hello"

COUNTED = """
window.made = 0;
window.EventSource = class extends EventSource {
  constructor(url) {
    super(url);
    window.made += 1;
  }
};
"""


@pytest.fixture(scope="module")
def node() -> Node:
    try:
        return ensure_installed(APP, dev=True)
    except (NodeMissing, RegistryUnreachable) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as opened:
        yield opened


def build(node: Node, into: Path, mode: str) -> None:
    vite = APP / "node_modules" / "vite" / "bin" / "vite.js"
    command = [node.path, str(vite), "build", "--outDir", str(into), "--mode", mode]
    built = run(command, APP, {**node.environment(), "NODE_ENV": mode})
    assert built.code == 0, built.out + built.err


def open_app(page: Page, system: System, built: Path) -> None:
    """Open what was built at the edge's own address, as a proxy in front of both would show it."""

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(f"{system.url}/") or "index.html"
        kind = mimetypes.guess_type(name)[0]
        route.fulfill(content_type=kind, body=(built / name).read_bytes())

    page.unroute_all()
    page.route(f"{system.url}/", serve)
    page.route(f"{system.url}/assets/*", serve)
    page.goto(f"{system.url}/")


def executions(system: System) -> int:
    with Redis.from_url(system.redis_url) as redis:
        return sum(1 for _ in redis.scan_iter("machpay:{*}:log"))


def ask(page: Page, prompt: str) -> None:
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Ask").click()


def test_the_component_is_the_guides_own() -> None:
    source = (APP / "src" / "ChatMessage.tsx").read_text()
    assert source == f"{REACT.text}\nexport {{ ChatMessage }};\n"


def test_it_type_checks(node: Node) -> None:
    tsc = APP / "node_modules" / "typescript" / "bin" / "tsc"
    checked = run([node.path, str(tsc)], APP, node.environment())
    assert checked.code == 0, checked.out


def test_a_person_asks_twice(page: Page, system: System, node: Node, tmp_path: Path) -> None:
    build(node, tmp_path, "production")
    open_app(page, system, tmp_path)
    before = executions(system)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    ask(page, FIRST)
    first = page.locator(".message").nth(0)
    expect(first.locator(".cursor")).to_be_visible()
    ask(page, SECOND)
    expect(page.locator(".prompt")).to_have_text([FIRST, SECOND])
    for message, prompt in ((first, FIRST), (page.locator(".message").nth(1), SECOND)):
        expect(message).to_have_text("".join(answer(prompt)), use_inner_text=False)
        expect(message.locator(".cursor")).to_have_count(0)
    assert errors == []
    assert executions(system) - before == 2


def test_strict_mode_leaves_no_stream_unseen(
    page: Page, system: System, node: Node, tmp_path: Path
) -> None:
    """In development React mounts twice: the first EventSource is closed before it is on its way."""
    build(node, tmp_path, "development")
    page.add_init_script(COUNTED)
    open_app(page, system, tmp_path)
    before = executions(system)
    ask(page, FIRST)
    message = page.locator(".message")
    expect(message).to_have_text("".join(answer(FIRST)), use_inner_text=False)
    expect(message.locator(".cursor")).to_have_count(0)
    assert page.evaluate("made") == 2
    assert executions(system) - before == 1

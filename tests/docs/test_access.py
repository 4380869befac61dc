"""The page on access: its backends make tokens, its page uses them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from machpay import MachPay
from ops.system import System
from tests.browser import open_page
from tests.docs.blocks import ROOT, claim
from tests.docs.ports import printed_port
from tests.docs.running import environment, run, run_python, write
from tests.docs.typescript import make_project
from tests.node.npm import compiled
from tests.waiting import wait_until

BACKEND = claim("docs/access.md", "Stream tokens", "bash")
MAKING = claim("docs/access.md", "API keys", "bash")
IN_PYTHON = claim("docs/access.md", "Stream tokens", "python")
IN_NODE = claim("docs/access.md", "Stream tokens", "typescript")
PAGE = claim("docs/access.md", "Stream tokens", "javascript")

KEY = "a-key-of-the-backend"
STORY = "Once upon a time in a digital realm ... "


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The page's edge, which wants a key."""
    settings = {
        "MACHPAY_SKILLS": "examples.story_generator:skill",
        "MACHPAY_DEFAULT_SKILL": "story-generator",
        "MACHPAY_API_KEYS": KEY,
    }
    with printed_port(8080), System(settings=settings, port=8080) as running:
        with MachPay(base_url=running.url, api_key=KEY) as client:
            wait_until(client.skills.list, "the skill is announced")
        yield running


def test_a_key_is_made_and_works(system: System) -> None:
    command = MAKING.text.replace(".venv/bin/python", sys.executable)
    variables = environment(system.url, MACHPAY_REDIS_URL=system.redis_url)
    made = run(["bash", "-e", "-c", command], ROOT, variables)
    assert made.code == 0, made.err
    with MachPay(base_url=system.url, api_key=made.out.strip()) as client:
        assert client.skills.list()


def test_a_page_streams_with_the_token_that_its_backend_made(
    system: System, tmp_path: Path
) -> None:
    variables = environment(system.url, MACHPAY_API_KEY=KEY)
    made = run(["bash", "-e", "-c", BACKEND.text], tmp_path, variables)
    answer = json.loads(made.out)
    assert answer.keys() == {"token", "expires_at", "skill_id", "max_starts", "timeout"}

    def show(route: Route) -> None:
        script = f"const token = {json.dumps(answer['token'])};\n{PAGE.text}"
        body = f"<!doctype html><body><script type=module>{script}</script>"
        route.fulfill(content_type="text/html", body=body)

    with MachPay(base_url=system.url, api_key=KEY) as client, open_page() as page:
        before = client.usage().total.executions
        page.route(f"{system.url}/page", show)
        for _ in range(2):
            page.goto(f"{system.url}/page")
            expect(page.locator("body")).to_contain_text(STORY.strip())
        # A reload is the same execution; and without the token there is none.
        ended = page.evaluate("fetch('/api/stream?prompt=x').then((answer) => answer.status)")
        assert ended == 401
        wait_until(
            lambda: client.usage().total.executions == before + 1, "one execution is in the ledger"
        )


def test_the_backend_may_be_in_python(system: System, tmp_path: Path) -> None:
    ran = run_python(write(IN_PYTHON, tmp_path), environment(system.url, MACHPAY_API_KEY=KEY))
    assert (ran.code, ran.err) == (0, "")
    assert streamed(system, ran.out.strip()) == STORY


def test_the_backend_may_be_in_node(system: System, tmp_path: Path) -> None:
    node = compiled()
    make_project(tmp_path)
    # There is no type in it: Node.js takes it as it is.
    path = write(IN_NODE, tmp_path, suffix=".mjs")
    ran = run([node.path, str(path)], tmp_path, environment(system.url, MACHPAY_API_KEY=KEY))
    assert (ran.code, ran.err) == (0, "")
    assert streamed(system, ran.out.strip()) == STORY


def streamed(system: System, token: str) -> str:
    """Stream with a token, as a page would by the SDK."""
    with MachPay(base_url=system.url, api_key=token) as page:
        return page.skills.run("story-generator", {"prompt": "x"}).text

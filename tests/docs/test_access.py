"""The page on access: its backend makes a token, its page uses it."""

import json
from pathlib import Path

from playwright.sync_api import Route, expect

from ops.system import System
from tests.browser import open_page
from tests.docs.blocks import claim
from tests.docs.ports import printed_port
from tests.docs.running import environment, run

BACKEND = claim("docs/access.md", "Stream tokens", "bash")
PAGE = claim("docs/access.md", "Stream tokens", "javascript")

KEY = "a-key-of-the-backend"
STORY = "Once upon a time in a digital realm ... "


def test_a_page_streams_with_the_token_that_its_backend_made(tmp_path: Path) -> None:
    settings = {
        "MACHPAY_SKILLS": "examples.story_generator:skill",
        "MACHPAY_DEFAULT_SKILL": "story-generator",
        "MACHPAY_API_KEYS": KEY,
    }
    with printed_port(8080), System(settings=settings, port=8080) as system:
        variables = environment(system.url, MACHPAY_API_KEY=KEY)
        made = run(["bash", "-e", "-c", BACKEND.text], tmp_path, variables)
        answer = json.loads(made.out)
        assert answer.keys() == {"token", "expires_at", "skill_id", "max_starts", "timeout"}

        def show(route: Route) -> None:
            script = f"const token = {json.dumps(answer['token'])};\n{PAGE.text}"
            body = f"<!doctype html><body><script type=module>{script}</script>"
            route.fulfill(content_type="text/html", body=body)

        with open_page() as page:
            page.route(f"{system.url}/page", show)
            for _ in range(2):
                page.goto(f"{system.url}/page")
                expect(page.locator("body")).to_contain_text(STORY.strip())
            # A reload is the same execution; and without the token there is none.
            ended = page.evaluate("fetch('/api/stream?prompt=x').then((answer) => answer.status)")
        assert ended == 401
        usage = run(
            ["curl", "-s", f"{system.url}/v1/usage", "-H", f"Authorization: Bearer {KEY}"],
            tmp_path,
            variables,
        )
        assert json.loads(usage.out)["total"]["executions"] == 1

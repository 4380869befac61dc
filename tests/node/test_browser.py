"""The client half of the SDK in a real Chromium, at a real edge, without a bundler."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route

from ops.npm import Node
from ops.system import System
from tests.browser import open_page
from tests.node.npm import SDK, run

PARSER = SDK / "node_modules" / "eventsource-parser" / "dist" / "index.js"
HEAD = """<!doctype html><meta charset=utf-8>
<script type=importmap>{"imports": {
  "@machpay/sdk": "/sdk/browser.js", "eventsource-parser": "/sdk/parser.js"
}}</script>"""

SCRIPT = """async () => {
  const { MachPay, SkillNotFound } = await import('@machpay/sdk');
  const client = new MachPay();
  const seen = {};

  const stream = await client.skills.stream({ skillId: 'count', input: { n: 3 } });
  seen.first = (await stream[Symbol.asyncIterator]().next()).value.text;
  stream.close();
  const { executionId, cursor } = stream;
  seen.rest = await (await client.executions.stream(executionId, { cursor })).text();

  const listened = await client.skills.stream({ skillId: 'count', input: { n: 2 } });
  seen.heard = await new Promise((resolve, reject) => {
    const texts = [];
    listened.on('chunk', ({ text }) => texts.push(text));
    listened.on('end', ({ costUsd }) => resolve([...texts, costUsd]));
    listened.on('error', reject);
  });

  const failed = await client.skills.run({ skillId: 'none', input: {} }).catch((error) => error);
  seen.refused = [failed instanceof SkillNotFound, failed.name, failed.status];

  const controller = new AbortController();
  const long = await client.skills.stream({
    skillId: 'relay',
    input: { n: 10000, pause: 0.01 },
    signal: controller.signal,
  });
  long.once('chunk', () => controller.abort());
  seen.aborted = await long.text().catch(({ name }) => name);
  await long.cancel();
  return seen;
}"""


# It builds the SDK, if nobody has.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def page(node: Node, system: System) -> Iterator[Page]:
    """A page of the edge's own origin that can import the SDK as it is published."""
    run(node, "build")

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        path = PARSER if name == "parser.js" else SDK / "dist" / name
        route.fulfill(content_type="text/javascript; charset=utf-8", body=path.read_text())

    with open_page() as opened:
        opened.route(f"{system.url}/sdk/*", answer)
        opened.route(
            f"{system.url}/page",
            lambda route: route.fulfill(content_type="text/html; charset=utf-8", body=HEAD),
        )
        opened.goto(f"{system.url}/page")
        yield opened


def test_a_page_streams_resumes_and_stops(page: Page) -> None:
    assert page.evaluate(SCRIPT) == {
        "first": "0 ",
        "rest": "1 2 ",
        "heard": ["0 ", "1 ", 0.01],
        "refused": [True, "SkillNotFound", 404],
        "aborted": "AbortError",
    }

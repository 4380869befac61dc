"""The client half of the SDK in a real Chromium, at a real edge that wants keys, without a bundler.

A page has stream tokens, never the key.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route

from machpay import MachPay
from ops.system import System
from tests.browser import open_page
from tests.node.conftest import KEY, served
from tests.node.npm import compiled

SCRIPT = """async ({ baseUrl, counting, relaying }) => {
  const { MachPay, SkillNotFound, Unauthorized } = await import('@machpay/sdk');
  const client = new MachPay({ baseUrl, apiKey: counting });
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
  const own = { skillId: 'count', input: {}, executionId: 'of-a-page' };
  const barred = await client.executions.create(own).catch((error) => error);
  seen.barred = [barred instanceof Unauthorized, barred.code];

  const controller = new AbortController();
  const long = await new MachPay({ baseUrl, apiKey: relaying }).skills.stream({
    skillId: 'relay',
    input: { n: 10000, pause: 0.01 },
    signal: controller.signal,
  });
  long.once('chunk', () => controller.abort());
  seen.aborted = await long.text().catch(({ name }) => name);
  await long.cancel();
  return seen;
}"""

NO_ENTRY = """async ({ baseUrl, apiKey }) => {
  const { MachPay } = await import('@machpay/sdk');
  const client = new MachPay({ baseUrl, apiKey, maxRetries: 0 });
  return await client.skills.run({ skillId: 'count', input: {} }).catch(({ code }) => code);
}"""


# It builds the SDK, if nobody has.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; and the SDK is built."""
    compiled()
    with open_page() as page:
        assert page.context.browser is not None
        yield page.context.browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_page() as opened:
        yield opened


def answer(route: Route) -> None:
    """Serve, at the edge's origin, what it does not."""
    kind, body = served(urlsplit(route.request.url).path)
    route.fulfill(content_type=f"{kind}; charset=utf-8", body=body)


@pytest.mark.parametrize("where", ["at the edge", "elsewhere"])
def test_a_page_streams_resumes_and_stops_with_stream_tokens(
    page: Page, system: System, elsewhere: int, where: str
) -> None:
    with MachPay(base_url=system.url, api_key=KEY) as backend:
        counting = backend.tokens.create(skill_id="count", max_starts=2, expires_in=60).token
        relaying = backend.tokens.create(skill_id="relay", expires_in=60).token
    given = {"counting": counting, "relaying": relaying}
    if where == "at the edge":
        page.route(re.compile(r"/(page|sdk/.*)$"), answer)
        page.goto(f"{system.url}/page")  # its own origin is the base URL by default
    else:
        page.goto(f"http://localhost:{elsewhere}/page")
        given["baseUrl"] = system.url
    assert page.evaluate(SCRIPT, given) == {
        "first": "0 ",
        "rest": "1 2 ",
        "heard": ["0 ", "1 ", 0.01],
        "refused": [True, "SkillNotFound", 404],
        "barred": [True, "forbidden"],
        "aborted": "AbortError",
    }


def test_a_page_of_an_origin_that_is_not_welcome_gets_nowhere(
    page: Page, system: System, elsewhere: int
) -> None:
    with MachPay(base_url=system.url, api_key=KEY) as backend:
        token = backend.tokens.create(skill_id="count", expires_in=60).token
        page.goto(
            f"http://127.0.0.1:{elsewhere}/page"
        )  # the same page by a name that is not listed
        assert page.evaluate(NO_ENTRY, {"baseUrl": system.url, "apiKey": token}) == "unreachable"

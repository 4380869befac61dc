"""The playground in a real Chromium, at a real edge: what people see and do in it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from machpay.pricing import Pricing
from ops.cut import CuttableProxy
from ops.system import System
from tests.browser import open_browser
from tests.pages.skills import HOSTILE, word
from tests.waiting import wait_until

SKILLS = ",".join(f"tests.pages.skills:{name}" for name in ("words", "echo", "picky", "hostile"))
SCHEMA = {
    "$ref": "#/$defs/Order",
    "$defs": {
        "Order": {
            "type": "object",
            "required": ["topic", "tone", "place"],
            "properties": {
                "topic": {"type": "string", "description": "What it is about."},
                "prompt": {"type": "string", "default": "Once"},
                "tone": {"enum": ["warm", "dry"]},
                "words": {"type": "integer", "minimum": 1, "maximum": 900, "default": 120},
                "heat": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
                "rhyme": {"type": "boolean", "default": True},
                "heroes": {"type": "array", "items": {"type": "string"}},
                "place": {"$ref": "#/$defs/Place"},
                "extra": {"description": "Anything else."},
            },
        },
        "Place": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Pages:
    """Opens pages, and notes what they complain of.

    Attributes:
        complaints: Errors of scripts, violations of the policy, and warnings of the browser.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []

    def open(self, url: str, **options: Any) -> Page:
        """Open a page in a context of its own, which shares nothing with another's."""
        page = self._browser.new_context(**options).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)
        page.goto(url)
        return page

    def _note(self, message: Any) -> None:
        # What the network refuses is for the page to tell; each test looks whether it did.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load"):
            self.complaints.append(message.text)

    def close(self) -> None:
        """Close what was opened."""
        for context in self._browser.contexts:
            context.close()


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    settings = {"MACHPAY_SKILLS": SKILLS, "MACHPAY_GRACE": "1"}
    with System(processes={"edge": 1, "worker": 1}, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    opened = Pages(browser)
    yield opened
    opened.close()
    assert opened.complaints == []


@pytest.fixture
def http(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.url, timeout=20, trust_env=False) as client:
        yield client


def run(page: Page, data: object) -> None:
    """Run the chosen skill with an input as JSON."""
    page.get_by_role("radio", name="JSON").check()
    page.get_by_label("Input as JSON").fill(json.dumps(data))
    page.get_by_role("button", name="Run").click()


def status(page: Page, expected: str) -> None:
    expect(page.locator("#sheet")).to_have_attribute("data-status", expected, timeout=20_000)


def text(page: Page) -> str:
    return page.locator("#text").text_content() or ""


def number(page: Page, name: str) -> int:
    return int((page.locator(f"#{name}").text_content() or "0").replace(",", ""))


def execution_in(page: Page) -> str:
    found = re.search(r"execution=([\w~-]+)", page.url)
    assert found is not None
    return found[1]


def whole(page: Page, expected: str) -> None:
    """Wait until there is as much text as there must be, and compare it, blanks and all."""
    wait_until(lambda: len(text(page)) >= len(expected), "the whole text")
    assert text(page) == expected


def written(n: int) -> str:
    return "".join(map(word, range(n)))


def test_a_run_is_cut_resumed_shared_and_joined_and_no_letter_is_lost(
    pages: Pages, system: System, http: httpx.Client
) -> None:
    with CuttableProxy(system.port) as proxy:
        page = pages.open(f"{proxy.url}/?skill=words")
        run(page, {"n": 70, "pause": 0.06})
        wait_until(lambda: number(page, "chunks") > 5, "some chunks")
        execution = execution_in(page)
        expect(page.locator("#cost")).to_have_text(re.compile(r"^≈ \$0\.01\d+$"))

        page.get_by_role("button", name="Cut the connection").click()
        status(page, "cut")
        place = page.locator("#tape-of").text_content() or ""
        # The log's first two entries are the start and the claim.
        seen = written(int(place.rpartition("-")[2]) - 2)
        expect(page.locator("#text")).to_have_text(seen, use_inner_text=False)
        before = text(page)
        # It goes on without us, and nothing of that arrives.
        wait_until(
            lambda: len(http.get(f"/v1/executions/{execution}").json()["text"]) > len(before) + 40,
            "the skill writes on",
        )
        assert (text(page), page.locator("#tape-of").text_content()) == (before, place)

        page.get_by_role("button", name="Share").click()
        link = page.get_by_label("A link to this execution").input_value()
        other = pages.open(link)
        expect(other.locator(".remark")).to_contain_text("joined here")
        assert text(other).startswith(before)

        page.get_by_role("button", name="Resume").click()
        status(page, "streaming")
        expect(page.locator("#say")).to_contain_text("none is missing, and none came twice")
        proxy.cut()  # and now a real fault: the browser comes back by itself
        status(page, "reconnecting")
        for one in (page, other):
            status(one, "completed")
            whole(one, written(70))
        assert http.get(f"/v1/executions/{execution}").json()["text"] == written(70)
        # Each event came once, and in order.
        places = [int(place) for place in page.locator("#tape-rows .place").all_text_contents()]
        assert places == sorted(set(places))
        assert number(page, "chunks") == 70

        # The receipt is exact.
        summary = json.loads(page.locator("#tape-rows .end .data").text_content() or "")
        price = Pricing.of({"base_usd": "0.01", "per_token_usd": "0.000002"})
        cost = price.cost(tokens=summary["tokensUsed"], milliseconds=0)
        expect(page.locator("#cost")).to_have_text(f"${cost}")
        expect(page.locator("#tokens")).to_have_text(str(summary["tokensUsed"]))


def test_a_form_made_from_the_schema_gives_the_input(pages: Pages, system: System) -> None:
    page = pages.open("about:blank")
    page.route("**/v1/skills", with_schema)
    page.goto(f"{system.url}/?skill=echo")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_label("Topic")).to_be_focused()  # it is required, and nothing was run
    status(page, "idle")
    page.get_by_label("Topic").fill('don\'t "panic"')
    page.get_by_label("Tone").select_option("dry")
    page.get_by_label("Words", exact=False).last.fill("7")
    page.get_by_label("Rhyme").uncheck()
    page.get_by_role("button", name="Add to Heroes").click()
    page.keyboard.type("Ada")
    page.get_by_role("button", name="Add to Heroes").click()
    page.keyboard.type("Grace")
    page.get_by_label("City").fill("Berlin")
    page.get_by_label("Extra").fill("[1, ")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_label("Extra")).to_be_focused()
    page.get_by_label("Extra").fill('[1, {"x": null}]')
    page.get_by_role("button", name="Run").click()
    status(page, "completed")
    given = {
        "topic": 'don\'t "panic"',
        "prompt": "Once",
        "tone": "dry",
        "words": 7,
        "rhyme": False,
        "heroes": ["Ada", "Grace"],
        "place": {"city": "Berlin"},
        "extra": [1, {"x": None}],
    }
    wait_until(lambda: text(page), "the text")
    assert json.loads(text(page)) == given

    # As JSON it is the same; what the form has no field for is kept.
    page.get_by_role("radio", name="JSON").check()
    field = page.get_by_label("Input as JSON")
    assert json.loads(field.input_value()) == given
    field.fill(json.dumps({**given, "words": 9, "heroes": ["Alan"], "other": 1}))
    page.get_by_role("radio", name="Form").check()
    expect(page.get_by_label("Heroes 1", exact=True)).to_have_value("Alan")
    page.keyboard.press("Control+Enter")
    status(page, "completed")
    wait_until(lambda: '"other": 1' in text(page), "the text")
    assert json.loads(text(page)) == {**given, "words": 9, "heroes": ["Alan"], "other": 1}

    page.get_by_role("radio", name="JSON").check()
    field.fill("[1]")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("an object in JSON")


def with_schema(route: Route) -> None:
    listed = route.fetch().json()
    for skill in listed["skills"]:
        if skill["id"] == "echo":
            skill["input_schema"] = SCHEMA
    route.fulfill(json=listed)


def test_what_a_skill_says_stays_text_and_a_phone_needs_no_sideways_scroll(
    pages: Pages, system: System
) -> None:
    page = pages.open(
        f"{system.url}/?skill=hostile",
        viewport={"width": 390, "height": 844},
        color_scheme="dark",
        reduced_motion="reduce",
    )
    expect(page.locator(".skill-name", has_text="<img")).to_have_text(HOSTILE)
    run(page, {"prompt": HOSTILE})
    status(page, "completed")
    whole(page, HOSTILE + "x" * 3000)
    page.get_by_text("The same from code").click()
    expect(page.locator("#snippet")).to_contain_text("<img")

    page.get_by_role("radio", name="Picky").check()
    run(page, {})
    status(page, "failed")
    expect(page.locator("#say")).to_have_text(f"too_long: The prompt is too long: {HOSTILE}")
    expect(page.locator("#cost")).to_have_text("$0")
    assert page.locator("img, main script").count() == 0
    assert page.title() == "MachPay Streams: playground"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_is_cancelled_and_the_address_goes_back_and_forward(
    pages: Pages, system: System, http: httpx.Client
) -> None:
    page = pages.open(f"{system.url}/?skill=words")
    page.locator("#cap").fill("5")
    with page.expect_request("**/v1/skills/words/executions") as asked:
        run(page, {"n": 100_000, "pause": 0.02})
    assert json.loads(asked.value.post_data or "")["max_cost_usd"] == "5"
    status(page, "streaming")
    execution = execution_in(page)
    page.keyboard.press("Escape")
    status(page, "streaming")
    page.get_by_role("button", name="Cancel").click()
    status(page, "cancelled")
    found = http.get(f"/v1/executions/{execution}").json()
    assert found["status"] == "cancelled"
    # What was delivered is paid: the event does not say how much, the snapshot does.
    expect(page.locator("#cost")).to_have_text(f"${found['cost_usd']:.9f}".rstrip("0"))
    expect(page.get_by_role("button", name="Cut the connection")).to_be_hidden()

    page.get_by_role("radio", name="Echo").check()
    status(page, "idle")
    page.go_back()
    status(page, "cancelled")
    assert execution_in(page) == execution
    expect(page.get_by_role("radio", name="Words")).to_be_checked()
    page.go_back()
    status(page, "idle")
    assert page.url.endswith("/?skill=words")
    page.go_forward()
    status(page, "cancelled")
    page.goto(f"{system.url}/?execution=exec_{'a' * 26}")
    status(page, "gone")
    expect(page.locator("#say")).to_contain_text("expired")


def test_a_long_run_leaves_the_page_small(pages: Pages, system: System) -> None:
    page = pages.open(f"{system.url}/?skill=words")
    run(page, {"n": 1500})
    status(page, "completed")
    whole(page, written(1500))
    assert page.locator("#tape-rows li").count() == 300
    expect(page.locator("#tape-earlier")).to_have_text(re.compile(r"^1,20\d earlier$"))
    assert page.locator("#text div").count() > 1


def test_where_a_key_is_needed_it_is_asked_for_and_sent_and_streams_have_tokens(
    pages: Pages, system: System
) -> None:
    page = pages.open("about:blank")
    urls: list[str] = []

    def guard(route: Route) -> None:
        request = route.request
        urls.append(request.url)
        if "token=stream-token" in request.url:
            route.continue_(url=re.sub(r"token=[\w-]+&?", "", request.url))
        elif request.headers.get("authorization") not in ("Bearer right", "Bearer stream-token"):
            error = {"code": "unauthorized", "message": "A valid API key is needed."}
            route.fulfill(status=401, json={"error": error})
        elif request.url.endswith("/v1/tokens"):
            asked = json.loads(request.post_data or "")
            body = {"token": "stream-token", "expires_at": 4102444800000, **asked}
            route.fulfill(status=201, json=body)
        else:
            headers = {k: v for k, v in request.headers.items() if k != "authorization"}
            route.continue_(headers=headers)

    page.route("**/v1/**", guard)
    page.goto(f"{system.url}/?skill=words")
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    key.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#skill-list")).to_contain_text("not valid here")
    expect(key).to_be_visible()
    key.fill("right")
    page.get_by_role("button", name="Use it").click()
    expect(key).to_be_hidden()
    run(page, {"n": 4})
    status(page, "completed")
    whole(page, written(4))
    assert any("/stream?token=" in url for url in urls)
    page.get_by_role("button", name="Share").click()
    link = page.get_by_label("A link to this execution")
    expect(link).to_have_value(re.compile(r"/\?execution=exec_\w+#token=stream-token$"))

    # Who comes by the link needs no key, and is not asked for one.
    other = pages.open("about:blank")
    other.route("**/v1/**", guard)
    other.goto(link.input_value())
    status(other, "completed")
    whole(other, written(4))
    expect(other.get_by_label("API key")).to_be_hidden()
    other.goto(f"{link.input_value()}-expired")
    other.reload()
    status(other, "denied")
    expect(other.locator("#say")).to_contain_text("not valid")


def test_a_start_whose_answer_was_lost_is_not_started_twice(pages: Pages, system: System) -> None:
    page = pages.open(f"{system.url}/?skill=words")
    started: list[str] = []

    def lose_the_first(route: Route) -> None:
        answer = route.fetch()
        started.append(answer.json()["execution_id"])
        if len(started) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    page.route("**/executions", lose_the_first)
    run(page, {"n": 3})
    status(page, "completed")
    assert len(started) == 2
    assert set(started) == {execution_in(page)}


def tab_to(page: Page, selector: str) -> None:
    """Go on by the tab key until something has the focus, which must show."""
    for _ in range(40):
        page.keyboard.press("Tab")
        found, outline = page.evaluate(
            """(selector) => {
                const at = document.activeElement;
                const seen = at.closest('.switch label')?.querySelector('span') ?? at;
                return [at.matches(selector), getComputedStyle(seen).outlineStyle];
            }""",
            selector,
        )
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
        if found:
            return
    pytest.fail(f"the tab key never comes to {selector}")


def test_all_of_it_can_be_done_by_keyboard(pages: Pages, system: System) -> None:
    page = pages.open(f"{system.url}/?skill=echo")
    expect(page.get_by_role("button", name="Run")).to_be_enabled()
    tab_to(page, ".skip")
    tab_to(page, "input[name=skill]")
    while not page.get_by_role("radio", name="Words").is_checked():
        page.keyboard.press("ArrowDown")
    tab_to(page, "input[name=mode]")
    page.keyboard.press("ArrowRight")
    tab_to(page, "#json")
    page.keyboard.press("Control+a")
    page.keyboard.type('{"n": 200, "pause": 0.02}')
    page.keyboard.press("Control+Enter")
    status(page, "streaming")
    tab_to(page, "#cut")
    page.keyboard.press("Enter")
    status(page, "cut")
    page.keyboard.press("Enter")  # the same button, now "Resume"
    status(page, "streaming")
    tab_to(page, "#share")
    page.keyboard.press("Enter")
    expect(page.get_by_label("A link to this execution")).to_be_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    status(page, "cancelled")
    tab_to(page, "#text")
    tab_to(page, "#tape")


NASTY = {
    "a": 'it\'s "$HOME" `x` \\ \n é 🙂 \u2028',
    "b": [True, False, None, 1.5],
    "__proto__": {"c": 1},
}


def test_the_same_from_code_is_the_same(pages: Pages, system: System, tmp_path: Path) -> None:
    page = pages.open(f"{system.url}/?skill=echo")
    page.get_by_role("radio", name="JSON").check()
    page.get_by_label("Input as JSON").fill(json.dumps(NASTY, ensure_ascii=False))
    page.locator("#cap").fill("0.5")
    page.get_by_text("The same from code").click()

    def code(language: str) -> str:
        page.get_by_role("radio", name=language).check()
        return page.locator("#snippet").text_content() or ""

    curl = subprocess.run(
        ["bash", "-c", code("curl")], capture_output=True, text=True, timeout=30, check=True
    )
    chunk = re.search(r"event: chunk\ndata: (.*)", curl.stdout)
    assert chunk is not None
    assert json.loads(json.loads(chunk[1])["text"]) == NASTY
    for language in ("curl", "Python", "Node.js"):
        assert '"0.5"' in code(language)
    script = tmp_path / "same.py"
    script.write_text(code("Python"))
    python = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=True
    )
    assert json.loads(python.stdout.split("\n")[0]) == NASTY
    node = code("Node.js").replace("import { MachPay } from '@machpay/sdk';", "")
    blank = pages.open("about:blank")
    seen = blank.evaluate(
        """async () => {
            const seen = [];
            const process = { stdout: { write() {} } };
            class MachPay {
                constructor(options) { seen.push(options); }
                skills = { stream: async (asked) => (seen.push(JSON.stringify(asked)), []) };
            }
            NODE
            return seen;
        }""".replace("NODE", node)
    )
    assert seen[0] == {"baseUrl": system.url}
    assert json.loads(seen[1]) == {"skillId": "echo", "input": NASTY, "maxCostUsd": "0.5"}


PAIRS = [
    *((ink, ground) for ink in ("ink", "soft", "accent", "warn", "bad")
      for ground in ("paper", "sheet", "tape")),
    ("accent-ink", "accent"), ("warn", "warn-wash"), ("ink", "warn-wash"), ("ink", "bad-wash"),
    ("ink", "accent-wash"), ("accent", "accent-wash"),
]  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_its_colours_can_be_read_in_both_schemes_and_its_money_is_exact(
    pages: Pages, system: System
) -> None:
    page = pages.open(system.url)
    grounds = set()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        tokens: dict[str, str] = page.evaluate(
            """(names) => {
                const style = getComputedStyle(document.documentElement);
                return Object.fromEntries(names.map((n) => [n, style.getPropertyValue(`--${n}`)]));
            }""",
            sorted({name for pair in PAIRS for name in pair} | {"edge"}),
        )
        grounds.add(tokens["paper"])
        for ink, ground in PAIRS:
            assert contrast(tokens[ink], tokens[ground]) >= 4.5, (scheme, ink, ground)
        for ground in ("paper", "sheet", "tape"):
            assert contrast(tokens["edge"], tokens[ground]) >= 3, (scheme, "edge", ground)
    assert len(grounds) == 2

    prices: list[tuple[dict[str, str | float], int, int]] = [
        ({"base_usd": 0.01}, 3, 1000),
        ({"base_usd": 0.001, "per_token_usd": 2e-5, "per_second_usd": 0.0001}, 110, 1722),
        ({"per_token_usd": 1e-9}, 3, 0),
        ({"per_second_usd": 1e-9}, 0, 500),
        ({"per_second_usd": 1e-9}, 0, 1500),
        ({"base_usd": 0.1, "per_token_usd": 0.2}, 1, 0),
        ({"base_usd": 1e9, "per_token_usd": 1e-9}, 9, 0),
        ({}, 10, 10),
    ]
    computed = page.evaluate(
        """async (prices) => {
            const { cost } = await import('/pages/money.js');
            return prices.map((price) => cost(...price));
        }""",
        [list(price) for price in prices],
    )
    exact = [
        f"{Pricing.of(price).cost(tokens=tokens, milliseconds=ms):f}"
        for price, tokens, ms in prices
    ]
    assert computed == exact

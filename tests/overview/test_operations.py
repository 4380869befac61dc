"""The operations API and its page, on the real system: every figure is what happened."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis
from playwright.sync_api import Page, Request, Route, expect

from machpay import MachPay, __version__
from machpay.exceptions import StreamError
from ops.system import System
from shared.keys import member_key
from tests.browser import open_page
from tests.docs.blocks import ROOT
from tests.waiting import wait_until

SETTINGS = {
    "MACHPAY_SKILLS": "tests.system.skills:count,tests.docs.skills:failing,tests.docs.skills:endless",
    "MACHPAY_MAX_JOBS": "2",
    "MACHPAY_LEASE": "2",
    "MACHPAY_GRACE": "0",
    "MACHPAY_DRAIN_WINDOW": "0",
}
RUNNING, WAITING = ("runs-1", "runs-2"), ("waits-1", "waits-2")


class Deployment:
    """A system in which a known lot has happened: two executions run, and two wait for a worker."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._http = httpx.Client(base_url=system.url, timeout=10, trust_env=False)
        with MachPay(base_url=system.url) as client:
            for n in (3, 4, 5):
                client.skills.run("count", {"n": n, "pause": 0.02})
            for _ in range(2):
                with pytest.raises(StreamError, match="out_of_ink"):
                    client.skills.run("failing", {})
        self._start("stopped")
        self._http.post("/v1/executions/stopped/cancel").raise_for_status()
        for name in RUNNING:
            self._start(name)
        self.wait(lambda seen: len(seen["running"]) == 2, "both run")
        for name in WAITING:
            self._start(name)

    def _start(self, name: str) -> None:
        body = {"skill_id": "endless", "input": {}}
        assert self._http.put(f"/v1/executions/{name}", json=body).status_code == 202

    def look(self) -> dict[str, Any]:
        answer = self._http.get("/v1/operations", params={"minutes": 5})
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def wait(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def holds() -> object:
            seen.update(self.look())
            return condition(seen)

        wait_until(holds, what)
        return seen

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with System(settings=SETTINGS, processes={"edge": 1, "worker": 1}) as system:
        deployment = Deployment(system)
        yield deployment
        deployment.close()


def test_every_figure_is_what_happened(deployment: Deployment) -> None:
    with httpx.stream(
        "GET", f"{deployment.system.url}/v1/executions/runs-1/stream", trust_env=False
    ):
        seen = deployment.wait(
            lambda seen: (
                (seen["total"]["ended"], seen["total"]["started"]) == (6, 10)
                and seen["total"]["queue_wait"]["count"] >= 7
                and seen["edges"][0]["streams"] == 1
                and seen["queue"]["waiting"] == 2
                and seen["queue"]["oldest_age_ms"] > 0
            ),
            "all is counted",
        )
    assert seen["queue"]["running"] == 2
    total = seen["total"]
    assert total["failed"] == 2
    assert {(error["code"], error["executions"]) for error in seen["errors"]} == {
        ("out_of_ink", 2),
        ("cancelled", 1),
    }
    # Five were streamed from their start, and each had a first chunk. (One whose subscription took long
    # is not measured.)
    assert 4 <= total["first_chunk"]["count"] <= 5
    assert 0 < total["first_chunk"]["p50_ms"] <= total["first_chunk"]["p99_ms"] < 60_000
    # All of their chunks, since there are few. Those that somebody reads later may add to it.
    assert total["delivery"]["count"] >= 14
    assert 0 < total["delivery"]["p50_ms"] < 60_000
    for name in ("started", "ended", "failed"):
        assert sum(moment[name] for moment in seen["series"]) == total[name]
    assert (seen["minutes"], seen["step_ms"], len(seen["series"])) == (5, 10_000, 30)
    assert seen["series"][-1]["at"] <= seen["now"] < seen["series"][-1]["at"] + 10_000

    (worker,), (edge,) = seen["workers"], seen["edges"]
    assert (worker["max_jobs"], worker["running"], worker["skills"]) == (2, 2, 3)
    assert (worker["version"], worker["draining"], edge["draining"]) == (__version__, False, False)
    assert worker["started_at"] < seen["now"]
    assert [run["execution_id"] for run in seen["running"]] == list(RUNNING)
    for run in seen["running"]:
        assert (run["skill_id"], run["account"], run["attempt"]) == ("endless", "default", 1)
        assert run["worker"] == worker["id"]
        assert run["age_ms"] == seen["now"] - run["created_at"] > 0

    outcomes = [row["outcome"] for row in seen["recent"]]
    assert sorted(outcomes) == ["cancelled", *["completed"] * 3, "out_of_ink", "out_of_ink"]
    completed = next(row for row in seen["recent"] if row["outcome"] == "completed")
    assert (completed["skill_id"], completed["account"]) == ("count", "default")
    assert completed["cost_usd"] == 0.01
    assert completed["created_at"] <= completed["ended_at"] <= seen["now"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        *(
            (f"minutes={minutes}", "1 to 120")
            for minutes in ("0", "121", "-1", "1.5", "٣", "9" * 99)
        ),
        ("minutes=", "1 to 120"),
        ("hours=1", "'hours'"),
    ],
)
def test_a_query_that_makes_no_sense_is_told(deployment: Deployment, query: str, says: str) -> None:
    answer = httpx.get(f"{deployment.system.url}/v1/operations?{query}", trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert says in answer.json()["error"]["message"]


# -- the page


@pytest.fixture(scope="module")
def page(deployment: Deployment) -> Iterator[Page]:
    """The page, open; whatever the browser complains about meanwhile fails the last test that has it."""
    with open_page() as page:
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{deployment.system.url}/ops")
        expect(page.locator("#state")).to_have_text("Live")
        yield page
        assert [text for text in complaints if "Failed to load resource" not in text] == []


def test_the_page_shows_what_the_api_says(deployment: Deployment, page: Page) -> None:
    tiles = {name: page.locator(f"#tile-{name}") for name in ("waiting", "running", "failed")}
    expect(tiles["waiting"]).to_contain_text(re.compile(r"Waiting2the oldest for \d"))
    expect(tiles["running"]).to_contain_text("Running2of 2 at once")
    expect(tiles["failed"]).to_contain_text("33.3 %2 of 6 ended")
    expect(page.locator("#tile-workers")).to_contain_text("Workers1")

    errors = page.locator("#errors tbody tr")
    expect(errors).to_have_count(2)
    expect(errors.first).to_contain_text("out_of_ink2the skill's own")
    expect(page.locator("#recent tbody tr")).to_have_count(6)
    link = page.locator("#running tbody a").first
    expect(link).to_have_text("runs-1")
    assert link.get_attribute("href") == "/?execution=runs-1"

    # A chart is read with the keyboard, and by who can't see it.
    plot = page.get_by_role("slider", name="Start to first chunk")
    expect(plot).to_have_attribute("aria-valuetext", re.compile(r"p50 [\d.]+ m?s, p95 [\d.]+ m?s"))
    plot.focus()
    page.keyboard.press("Home")
    expect(plot).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("ArrowRight")
    expect(plot).to_have_attribute("aria-valuetext", re.compile("p50 \N{EN DASH}, p95 \N{EN DASH}"))
    page.keyboard.press("Escape")

    # What has the focus keeps it, however often the figures change.
    link.focus()
    page.evaluate("window.link = document.activeElement")
    with page.expect_response("**/v1/operations*"):
        pass
    with page.expect_response("**/v1/operations*"):
        pass
    assert page.evaluate("document.activeElement === window.link && window.link.isConnected")


def test_it_fits_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})


def test_it_says_when_the_edge_is_away_and_when_it_wants_a_key(page: Page) -> None:
    state, form = page.locator("#state"), page.locator("#key-form")
    pattern = "**/v1/operations*"
    page.route(pattern, lambda route: route.abort())
    expect(state).to_have_text("The edge can't be reached")
    page.unroute(pattern)
    expect(state).to_have_text("Live")

    sent: list[str | None] = []

    def guard(route: Route, request: Request) -> None:
        sent.append(request.headers.get("authorization"))
        if sent[-1] == "Bearer secret":
            route.continue_()
        else:
            refusal = {"error": {"code": "unauthorized", "message": "Which key?"}}
            route.fulfill(status=401, body=json.dumps(refusal), content_type="application/json")

    page.route(pattern, guard)
    expect(form).to_be_visible()
    page.keyboard.type("wrong")  # it has the focus
    page.keyboard.press("Enter")
    expect(form).to_contain_text("That key is not known")
    page.locator("#key").fill("secret")
    page.keyboard.press("Enter")
    expect(form).to_be_hidden()
    expect(state).to_have_text("Live")
    assert (sent[0], "Bearer wrong" in sent) == (None, True)
    assert page.evaluate("sessionStorage.getItem('machpay-key')") == "secret"
    page.unroute(pattern)


def test_a_hidden_page_asks_nothing(deployment: Deployment, page: Page) -> None:
    page.clock.install()
    page.goto(f"{deployment.system.url}/ops")
    expect(page.locator("#state")).to_have_text("Live")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    turn = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(f"{hide % 'true'}; {turn}")
    page.clock.run_for(3000)  # what was on its way has come
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_response("**/v1/operations*"):
        page.evaluate(f"{hide % 'false'}; {turn}")


def test_codes_that_executions_end_with_have_a_meaning_on_the_page() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    table = page.partition("## How an execution ends")[2].partition("\n## ")[0]
    codes = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))
    script = (ROOT / "edge" / "pages" / "codes.js").read_text()
    assert "skill_error" in codes
    assert codes - set(re.findall(r"^  (\w+): ", script, flags=re.MULTILINE)) == set()


# -- the fleet


def test_who_is_killed_is_gone_soon_and_who_ends_at_once(deployment: Deployment) -> None:
    system = deployment.system
    deployment.wait(lambda seen: len(seen["workers"]) == 1, "one worker")
    system.spawn("worker", "worker.2")
    deployment.wait(lambda seen: len(seen["workers"]) == 2, "another one comes")
    system.children["worker.1"].kill()
    seen = deployment.wait(lambda seen: len(seen["workers"]) == 1, "the killed one is gone")
    (left,) = seen["workers"]
    assert system.valkey is not None
    with redis.Redis.from_url(system.valkey.url) as client:
        assert client.exists(member_key("worker", left["id"]))
        system.children["worker.2"].stop(10)
        assert not client.exists(member_key("worker", left["id"]))
    deployment.wait(lambda seen: seen["workers"] == [], "nobody is listed")

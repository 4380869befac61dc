"""A native EventSource in Chromium, through every drop: one execution, all of its text, each once.

The page knows one address, that of a proxy: behind it edges die, drain and change places. Its
EventSources never close by themselves, as an impatient page's would: they end by a 204.
"""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Page, Route
from redis import Redis

from machpay.serve.executions import SkillInfo, StartRequest
from machpay.serve.offers import OFFERED_FOR, offer
from ops.faults import Fault, FaultyProxy
from ops.system import System
from tests.browser import open_page
from tests.system.conftest import SETTINGS
from tests.system.streaming import numbers
from tests.waiting import wait_until
from tests.wire import check

SCRIPT = """
window.seen = {};
window.listen = (name, url, close) => {
  const source = new EventSource(url);
  const seen = {texts: [], ids: [], starts: [], ends: [], failures: [], opened: 0, drops: 0};
  window.seen[name] = seen;
  seen.source = source;
  source.onopen = () => { seen.opened += 1; };
  source.onmessage = (event) => {
    seen.texts.push(JSON.parse(event.data).text);
    seen.ids.push(event.lastEventId);
  };
  source.addEventListener('start', (event) => seen.starts.push(JSON.parse(event.data).executionId));
  source.addEventListener('end', (event) => seen.ends.push(JSON.parse(event.data)));
  source.onerror = (event) => {
    if (event.data === undefined) seen.drops += 1;
    else seen.failures.push(JSON.parse(event.data));
    if (close) source.close();
  };
};
window.look = (name) => ({...window.seen[name], source: window.seen[name].source.readyState});
"""

PAGE = "/page"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    settings = {**SETTINGS, "MACHPAY_DRAIN_WINDOW": "1"}
    with System(processes={"edge": 2, "worker": 1}, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def door(system: System) -> Iterator[FaultyProxy]:
    """The one address."""
    with FaultyProxy(port_of(system, "edge.1")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def page(door: FaultyProxy) -> Iterator[Page]:
    def answer(route: Route) -> None:
        route.fulfill(content_type="text/html", body=f"<script>{SCRIPT}</script>")

    with open_page() as opened:
        opened.route(f"{door.url}{PAGE}", answer)
        opened.goto(f"{door.url}{PAGE}")
        yield opened


@pytest.fixture
def logs(system: System) -> Iterator[Redis]:
    with Redis.from_url(system.redis_url) as redis:
        yield redis


def port_of(system: System, name: str) -> int:
    return httpx.URL(system.url_of(name)).port or 80


def executions(redis: Redis) -> set[str]:
    """All there are, seen by a page or not."""
    return {key.decode().split("{")[1].split("}")[0] for key in redis.scan_iter("machpay:{*}:log")}


class Source:
    """An EventSource of the page."""

    def __init__(self, page: Page, name: str, *, close: bool = False, **query: object) -> None:
        self._page = page
        self._name = name
        url = f"/api/stream?{urlencode({'case': name, **query})}"
        page.evaluate("([name, url, close]) => listen(name, url, close)", [name, url, close])

    def look(self) -> dict[str, Any]:
        seen: dict[str, Any] = self._page.evaluate("(name) => look(name)", self._name)
        return seen

    def wait_for(self, what: str, count: int = 1) -> dict[str, Any]:
        self._page.wait_for_function(
            "([name, what, count]) => window.seen[name][what].length >= count",
            arg=[self._name, what, count],
        )
        return self.look()

    def wait_until_dropped(self) -> None:
        self._page.wait_for_function("(name) => window.seen[name].drops > 0", arg=self._name)

    def wait_until_closed(self) -> dict[str, Any]:
        self._page.wait_for_function(
            "(name) => window.seen[name].source.readyState === 2", arg=self._name
        )
        return self.look()


def check_whole(seen: dict[str, Any], count: int) -> str:
    """Check that a page saw all of one execution, each of it once; returns its id."""
    assert seen["texts"] == numbers(count)
    assert len(set(seen["ids"])) == count
    assert (len(seen["starts"]), len(seen["ends"]), seen["failures"]) == (1, 1, [])
    (execution_id,) = seen["starts"]
    assert {cursor.split(".")[0] for cursor in seen["ids"]} == {execution_id}
    return str(execution_id)


PLACES = {
    "behind-the-start": Fault(b".0-1\n\n"),
    "in-a-chunk": Fault(b'{"text":"0 '),
    "in-an-id": Fault(b'"index":1,"timestamp":', past=len("1795418895190}\nid: exec_")),
    "before-an-id": Fault(b'"index":2,"timestamp":', past=len("1795418895190}\n")),
    "between-events": Fault(b'"index":2,"timestamp":', past=0),
    "before-the-end": Fault(b"event: end"),
    "in-the-ends-id": Fault(b'"durationMs":', past=12),
    "behind-the-end": Fault(b"\r\n0\r\n"),
    # Here the page has no id yet. Only its own name for the start can tell that it is one.
    "behind-the-headers": Fault(b"\r\n\r\n"),
    "in-the-start": Fault(b"event: start\ndata: "),
}


def test_a_cut_anywhere_is_resumed(page: Page, door: FaultyProxy, logs: Redis) -> None:
    """All at once: at most six are connected, and the others wait for their turn."""
    before = executions(logs)
    faults, sources = [], []
    for name, fault in PLACES.items():
        faults.append(door.arm(Fault(fault.at, fault.past, request=f"case={name}&".encode())))
        key: dict[str, Any] = (
            {"idempotency_key": name} if name in ("behind-the-headers", "in-the-start") else {}
        )
        sources.append(Source(page, name, skill="relay", n=4, pause=0.05, **key))
    ids = {check_whole(source.wait_until_closed(), 4) for source in sources}
    assert all(fault.struck.is_set() for fault in faults)
    assert executions(logs) - before == ids
    assert len(ids) == len(PLACES)


def test_a_connection_that_fell_silent_is_resumed_once_it_is_cut(
    page: Page, door: FaultyProxy, system: System, logs: Redis
) -> None:
    before = executions(logs)
    source = Source(page, "silent", skill="relay", n=20, pause=0.05)
    execution_id = source.wait_for("texts", 2)["starts"][0]
    door.hold()
    url = f"{system.url_of('edge.2')}/v1/executions/{execution_id}"
    wait_until(lambda: _get(url).json()["status"] == "completed", "it ends, unseen")
    assert source.look()["ends"] == []
    door.cut()
    assert check_whole(source.wait_until_closed(), 20) == execution_id
    assert executions(logs) - before == {execution_id}


def test_an_error_is_shown_and_nothing_follows(page: Page) -> None:
    failing: dict[str, Any] = {"skill": "odd", "how": "polite"}
    patient = Source(page, "patient", **failing)
    guides = Source(page, "guides", close=True, **failing)
    seen = patient.wait_until_closed()
    assert [failure["code"] for failure in seen["failures"]] == ["too_long"]
    assert (seen["texts"], len(seen["starts"])) == (["so far "], 1)
    seen = guides.wait_until_closed()
    assert [failure["code"] for failure in seen["failures"]] == ["too_long"]
    # Closing at the first sight of any error, as the guide's component does, is once and for all.
    assert (seen["opened"], seen["drops"]) == (1, 0)


def test_a_refusal_is_no_reason_to_try_again(page: Page, logs: Redis) -> None:
    key: dict[str, Any] = {"skill": "relay", "idempotency_key": "taken"}
    Source(page, "first", **key).wait_until_closed()
    before = executions(logs)
    seen = Source(page, "second", **key).wait_until_closed()
    assert [failure["code"] for failure in seen["failures"]] == ["idempotency_mismatch"]
    assert (seen["texts"], seen["ends"], executions(logs)) == ([], [], before)


def test_a_killed_edge_and_a_draining_one_are_survived(
    page: Page, door: FaultyProxy, system: System, logs: Redis
) -> None:
    before = executions(logs)
    killed = Source(page, "killed", skill="relay", n=60, pause=0.05)
    killed.wait_for("texts", 2)
    system.children["edge.1"].kill()
    system.children["edge.1"].wait()
    system.spawn("edge", "edge.1")
    count = len(killed.look()["texts"])
    killed.wait_for("texts", count + 2)
    drained = Source(page, "drained", skill="relay", n=60, pause=0.05)
    drained.wait_for("texts", 2)
    edge = system.children["edge.1"]
    edge.terminate()
    # It is the page's address to its very end: who comes back to it, or just comes, is told to wait.
    wait_until(lambda: _get(f"{system.url}/readyz").status_code == 503, "it drains")
    late = Source(page, "late", skill="relay", n=4)
    edge.wait()
    door.turn_to(port_of(system, "edge.2"))
    sources = {killed: 60, drained: 60, late: 4}
    ids = {check_whole(source.wait_until_closed(), n) for source, n in sources.items()}
    assert executions(logs) - before == ids
    system.spawn("edge", "edge.1")
    wait_until(lambda: _ready(system.url), "it is back")
    door.turn_to(port_of(system, "edge.1"))


def test_a_redis_that_hangs_or_is_away_is_survived(page: Page, system: System, logs: Redis) -> None:
    assert system.valkey is not None
    before = executions(logs)
    live = Source(page, "live", skill="relay", n=100, pause=0.05)
    live.wait_for("texts", 2)
    os.kill(system.valkey.pid, signal.SIGSTOP)
    hung = Source(page, "hung", skill="relay", n=4)
    hung.wait_until_dropped()
    os.kill(system.valkey.pid, signal.SIGCONT)
    check_whole(hung.wait_until_closed(), 4)
    system.valkey.kill()
    away = Source(page, "away", skill="relay", n=4)
    away.wait_until_dropped()
    system.valkey.start()
    sources = {live: 100, hung: 4, away: 4}
    ids = {check_whole(source.wait_until_closed(), n) for source, n in sources.items()}
    assert executions(logs) - before == ids


def test_what_an_edge_could_not_begin_is_begun_by_another_once(
    page: Page, door: FaultyProxy, system: System, logs: Redis
) -> None:
    """The page has the id: whatever became of its start, it is this one that it comes back to."""
    assert system.valkey is not None
    before = executions(logs)
    with FaultyProxy(httpx.URL(system.redis_url).port or 0) as between:
        settings = {
            "MACHPAY_REDIS_URL": between.url.replace("http", "redis"),
            "MACHPAY_RETENTION": "2",
        }
        edge = system.spawn("edge", "edge.3", settings)
        wait_until(lambda: _ready(system.url_of("edge.3")), "it is ready")
        door.lead_to(port_of(system, "edge.3"))
        enqueue = between.arm(Fault(b"machpay:queue:bell", upward=True, hold=True))
        unqueued = Source(page, "unqueued", skill="relay", n=4)
        (first,) = unqueued.wait_for("starts")["starts"]
        assert enqueue.struck.wait(20)
        assert executions(logs) - before == {first}
        door.lead_to(port_of(system, "edge.1"))
        assert check_whole(unqueued.wait_until_closed(), 4) == first
        between.release()
        # Where logs are kept for so short, an id is good for half of that.
        late = offer(_start(n="2"), time.time() - 2)
        assert _resume(system.url_of("edge.3"), late, "n=2").status_code == 404

        door.lead_to(port_of(system, "edge.3"))
        begin = between.arm(Fault(b"$5\r\nstart\r\n", upward=True, hold=True))
        unbegun = Source(page, "unbegun", skill="relay", n=4)
        stopped = Source(page, "stopped", skill="relay", n=4)
        (second,) = unbegun.wait_for("starts")["starts"]
        (third,) = stopped.wait_for("starts")["starts"]
        assert begin.struck.wait(20)
        assert executions(logs) - before == {first}
        cancel = f"{system.url}/v1/executions/{third}/cancel"
        assert httpx.post(cancel, trust_env=False).status_code == 200
        edge.kill()
        edge.wait()
        door.lead_to(port_of(system, "edge.1"))
        assert check_whole(unbegun.wait_until_closed(), 4) == second
        seen = stopped.wait_until_closed()
        assert [failure["code"] for failure in seen["failures"]] == ["cancelled"]
        assert (seen["starts"], seen["texts"]) == ([third], [])
    del system.children["edge.3"]
    assert executions(logs) - before == {first, second, third}


def test_an_offered_id_is_good_for_its_own_request_for_a_while(system: System, logs: Redis) -> None:
    before = executions(logs)
    mine = offer(_start(n="2"), time.time())
    others = {
        "too old": offer(_start(n="2"), time.time() - OFFERED_FOR - 1),
        "of the future": offer(_start(n="2"), time.time() + 3600),
        "another's": offer(_start("somebody", n="2"), time.time()),
        "for something else": offer(_start(n="3"), time.time()),
        "made up": mine[:-1] + ("a" if mine[-1] != "a" else "b"),
    }
    for why, execution_id in others.items():
        assert _resume(system.url, execution_id, "n=2").status_code == 404, why
    assert _resume(system.url, mine, "n=2", position="0-2").status_code == 404
    assert _resume(system.url, mine, "n=2", method="POST").status_code == 404
    foreign = _resume(system.url, mine, "n=2", **{"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert executions(logs) == before
    urls = [system.url_of(f"edge.{number}") for number in (1, 2, 1, 2)]
    with ThreadPoolExecutor(len(urls)) as pool:
        answers = list(pool.map(lambda url: _resume(url, mine, "n=2"), urls))
    for answer in answers:
        events = check(answer.content, unnamed=True)
        assert [event.event for event in events] == ["chunk", "chunk", "end"]
        assert [event.id for event in events] == [
            event.id for event in check(answers[0].content, unnamed=True)
        ]
    assert executions(logs) - before == {mine}


def _start(account: str = "default", **given: str) -> StartRequest:
    skill = SkillInfo(id="relay", name="")
    return StartRequest(skill=skill, input=given, account=account)


def _resume(
    url: str,
    execution_id: str,
    query: str,
    *,
    position: str = "0-1",
    method: str = "GET",
    **more: str,
) -> httpx.Response:
    return httpx.request(
        method,
        f"{url}/api/stream?skill=relay&{query}",
        headers={"Last-Event-ID": f"{execution_id}.{position}", **more},
        timeout=20,
        trust_env=False,
    )


def _get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=10, trust_env=False)


def _ready(url: str) -> bool:
    try:
        return _get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False

"""``/api/stream``: what the guide's two snippets see."""

import re
from collections.abc import Iterator

import httpx
import pytest

from machpay.serve.server import create_app
from tests.skill_server.serving import raw, request, serving
from tests.skill_server.sides import Serve, Server
from tests.skill_server.skills import TEXTS, Gates, story
from tests.wire import check


@pytest.fixture
def served(serve: Serve) -> Iterator[Server]:
    with serve(skills=["story"]) as served:
        yield served


def test_an_event_source_gets_chunks_without_a_name(served: Server) -> None:
    answer = served.http.get("/api/stream", params={"prompt": "a b"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = check(answer.content, unnamed=True)
    assert [event.data["text"] for event in events[1:-1]] == [*TEXTS, '{"prompt": "a b"}']
    assert [event.event for event in events[::5]] == ["start", "end"]


def test_an_event_source_that_reconnects_starts_nothing(served: Server) -> None:
    whole = check(served.http.get("/api/stream?prompt=x").content, unnamed=True)
    for place, event in enumerate(whole[:-1]):
        answer = served.http.get("/api/stream?prompt=x", headers={"Last-Event-ID": event.id})
        rest = check(answer.content, unnamed=True)
        assert [e.id for e in rest] == [e.id for e in whole[place + 1 :]]
    last = served.http.get("/api/stream?prompt=x", headers={"Last-Event-ID": whole[-1].id})
    assert last.status_code == 204


def test_fetch_gets_bare_text(served: Server) -> None:
    answer = served.http.post("/api/stream", json={"prompt": "x"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "".join(TEXTS) + '{"prompt": "x"}'


def test_fetch_that_asks_for_events_gets_them(served: Server) -> None:
    answer = served.http.post(
        "/api/stream", json={"prompt": "x"}, headers={"Accept": "text/event-stream"}
    )
    assert check(answer.content, unnamed=True)[-1].event == "end"


def test_bare_text_that_is_not_whole_is_cut(served: Server) -> None:
    answer = raw(served.port, request("POST", "/api/stream", body=b'{"prompt": "fail"}'))
    assert answer.body == b"so far"
    assert not answer.complete


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_cutting_bare_text_is_no_error_to_uvicorn(
    http: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"prompt": "fail"}'
    with serving(create_app([story()]), http=http) as served:
        answer = served.raw(request("POST", "/api/stream", body=body))
    assert answer.body == b"so far"
    assert not answer.complete
    # The skill's failure is its own; the server has nothing to complain about.
    assert "without completing response" not in caplog.text


def test_a_key_in_the_query_is_one_execution(served: Server) -> None:
    url = "/api/stream?prompt=x&idempotency_key=k"
    first, same = (check(served.http.get(url).content, unnamed=True) for _ in range(2))
    assert [event.id for event in first] == [event.id for event in same]
    assert "idempotency_key" not in first[-2].data["text"]
    mismatch = served.http.get(url.replace("=x", "=y"))
    assert mismatch.status_code == 200
    refused = re.search(
        rb"event: error\ndata: .*idempotency_mismatch.*\nid: (.*)\n\n$", mismatch.content
    )
    assert refused
    # A page that does not close on an error comes back: not with yet another start.
    again = served.http.get(url.replace("=x", "=y"), headers={"Last-Event-ID": refused[1].decode()})
    assert again.status_code == 204


OTHERS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "anything", "Origin": "https://evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
]


def test_another_sites_page_starts_and_stops_nothing(serve: Serve, gates: Gates) -> None:
    with serve(skills=["echo"], origins=["https://app.example"]) as served:
        for headers in OTHERS:
            for method, path in (
                ("GET", "/api/stream?prompt=x"),
                ("POST", "/api/stream"),
                ("POST", "/v1/skills/echo/stream"),
                ("POST", "/v1/skills/echo/executions"),
                ("PUT", "/v1/executions/mine"),
                ("POST", "/v1/executions/mine/cancel"),
            ):
                refused = served.http.request(method, path, headers=headers, json={})
                code = refused.json()["error"]["code"]
                assert (refused.status_code, code) == (403, "forbidden"), (headers, path)
        assert gates.runs == 0
        host = f"127.0.0.1:{served.port}"
        for headers in (
            {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{host}"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"},
            {"Origin": f"https://{host}"},
        ):
            answer = served.http.post("/api/stream", headers=headers, json={"x": 1})
            assert answer.status_code == 200
    assert gates.runs == 3


def test_one_of_several_skills_is_named(serve: Serve, gates: Gates) -> None:
    with serve() as served:
        unnamed = served.http.get("/api/stream")
        unknown = served.http.get("/api/stream?skill=nope")
        named = check(served.http.get("/api/stream?skill=echo").content, unnamed=True)
        head = served.http.head("/api/stream?skill=echo")
    assert (unnamed.status_code, unknown.status_code) == (400, 404)
    assert named[0].data["skillId"] == "echo"
    assert head.status_code == 200
    assert gates.runs == 1


def test_a_bad_body_or_cursor(served: Server) -> None:
    assert served.http.post("/api/stream", content=b"[").status_code == 400
    bad = served.http.get("/api/stream", headers={"Last-Event-ID": "x"})
    assert bad.status_code == 400
    gone = httpx.Headers({"Last-Event-ID": "exec_nope.1-3"})
    assert served.http.get("/api/stream", headers=gone).status_code == 404

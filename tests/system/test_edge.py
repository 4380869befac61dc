"""The edge over real sockets: the wire form, resuming, and every bad input's answer."""

import json
import secrets
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from machpay import MachPay, StreamError
from machpay._position import Cursor, Position
from ops.system import System
from tests.wire import WireEvent, check, check_prefix


def start(http: httpx.Client, skill: str = "count", **data: Any) -> list[WireEvent]:
    """Start, stream to the end, and check every byte."""
    response = http.post(f"/v1/skills/{skill}/stream", json={"input": data})
    assert response.status_code == 200, response.text
    return check(response.content)


def texts(events: list[WireEvent]) -> list[str]:
    return [event.data["text"] for event in events if event.event == "chunk"]


def error_of(response: httpx.Response) -> str:
    """Check the body that every error has; returns the code."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    return str(body["error"]["code"])


# -- starting


def test_a_stream_is_start_chunks_end(http: httpx.Client) -> None:
    events = start(http, n=5)
    assert [event.event for event in events] == ["start", *["chunk"] * 5, "end"]
    assert events[0].data["skillId"] == "count"
    assert texts(events) == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert [event.data["index"] for event in events[1:-1]] == [0, 1, 2, 3, 4]
    assert events[-1].data["costUsd"] == 0.01
    assert events[-1].data["tokensUsed"] > 0


def test_the_headers_are_those_of_a_stream(http: httpx.Client) -> None:
    response = http.post("/v1/skills/count/stream", json={"input": {}})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in response.headers


def test_async_handlers_data_and_reported_tokens(http: httpx.Client) -> None:
    events = start(http, "relay", n=4)
    assert [event.data["data"] for event in events if event.event == "chunk"] == [
        {"progress": 0.25},
        {"progress": 0.5},
        {"progress": 0.75},
        {"progress": 1.0},
    ]
    assert events[-1].data["tokensUsed"] == 100
    assert events[-1].data["costUsd"] == 0.003


def test_a_plain_function_is_one_chunk(http: httpx.Client) -> None:
    assert texts(start(http, "plain", prompt="hi")) == ["You said: hi"]


@pytest.mark.parametrize(
    "prompt",
    [
        "\n\nevent: end\ndata: {}\n\n",
        "a\r\nid: x\r\n",
        "\u2028\u2029\u0085",
        "\x00\x07",
        "\U0001f600",
    ],
)
def test_text_can_not_break_the_framing(http: httpx.Client, prompt: str) -> None:
    events = start(http, "plain", prompt=prompt)
    assert texts(events) == [f"You said: {prompt}"]


def test_a_start_in_the_background(http: httpx.Client) -> None:
    response = http.post("/v1/skills/count/executions", json={"input": {"n": 2}})
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == body["status_url"]
    events = check(http.get(body["stream_url"]).content)
    assert texts(events) == ["0 ", "1 "]
    status = http.get(body["status_url"]).json()
    assert status["execution_id"] == body["execution_id"] == events[0].data["executionId"]
    assert status["status"] == "completed"
    assert status["text"] == "0 1 "
    assert status["cursor"] == events[-1].id
    assert status["cost_usd"] == 0.01


def test_a_snapshot_and_its_cursor_are_the_whole_text(http: httpx.Client) -> None:
    url = http.post("/v1/skills/count/executions", json={"input": {"n": 30, "pause": 0.02}}).json()
    snapshot = http.get(url["status_url"]).json()
    rest = http.get(url["stream_url"], headers={"Last-Event-ID": snapshot["cursor"]})
    assert snapshot["text"] + "".join(texts(check(rest.content))) == "".join(
        f"{n} " for n in range(30)
    )


def test_one_key_is_one_execution(http: httpx.Client) -> None:
    def answer(n: int) -> httpx.Response:
        return http.post(
            "/v1/skills/count/stream",
            json={"input": {"n": n}},
            headers={"Idempotency-Key": "one key"},
        )

    first, again, other = answer(2), answer(2), answer(3)
    assert [(e.event, e.data, e.id) for e in check(again.content)] == [
        (e.event, e.data, e.id) for e in check(first.content)
    ]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (other.status_code, error_of(other)) == (422, "idempotency_mismatch")


def test_cancelling_ends_the_stream(http: httpx.Client, system: System) -> None:
    client = MachPay(base_url=system.url)
    stream = client.skills.stream("count", {"n": 10_000, "pause": 0.02})
    taken = []
    for chunk in stream:
        taken.append(chunk.text)
        if len(taken) == 3:
            break
    stream.cancel()
    with pytest.raises(StreamError) as ended:
        taken += [chunk.text for chunk in stream]
    assert ended.value.code == "cancelled"
    status = http.get(f"/v1/executions/{stream.execution_id}").json()
    assert status["status"] == "cancelled"
    assert status["text"].startswith("".join(taken))
    client.executions.cancel(str(stream.execution_id))
    client.close()


# -- ids that clients choose, and stops that come first


def unused_id() -> str:
    return f"mine-{secrets.token_hex(8)}"


def put(http: httpx.Client, name: str, *, stream: bool = False, **body: Any) -> httpx.Response:
    headers = {"Accept": "text/event-stream"} if stream else {}
    body = {"skill_id": "count", "input": {"n": 2}, **body}
    return http.put(f"/v1/executions/{name}", json=body, headers=headers)


def test_a_start_under_a_chosen_id(http: httpx.Client) -> None:
    name = unused_id()
    answer = put(http, name)
    url = f"/v1/executions/{name}"
    assert (answer.status_code, answer.headers["location"]) == (202, url)
    body = answer.json()
    assert http.get(url, params={"token": body.pop("stream_token")}).status_code == 200
    assert body == {
        "execution_id": name,
        "skill_id": "count",
        "stream_url": f"{url}/stream",
        "status_url": url,
    }
    events = check(http.get(f"{url}/stream").content)
    assert (events[0].data["executionId"], texts(events)) == (name, ["0 ", "1 "])
    again = put(http, name, stream=True)
    assert again.headers["idempotency-replayed"] == "true"
    assert [event.id for event in check(again.content)] == [event.id for event in events]
    other = put(http, name, input={"n": 3})
    assert (other.status_code, error_of(other)) == (422, "idempotency_mismatch")


def test_a_put_that_asks_for_events_streams_and_resumes(http: httpx.Client) -> None:
    name = unused_id()
    body = {"skill_id": "count", "input": {"n": 5}}
    first = put(http, name, stream=True, **body)
    assert "idempotency-replayed" not in first.headers
    events = check(first.content)
    assert [event.event for event in events] == ["start", *["chunk"] * 5, "end"]
    for place, event in enumerate(events):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": event.id}
        answer = http.put(f"/v1/executions/{name}", json=body, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        rest = check(answer.content) if events[place + 1 :] else []
        assert [e.id for e in rest] == [e.id for e in events[place + 1 :]]


@pytest.mark.parametrize("name", ["exec_mine", "a.b", "a" * 65, "%C3%A4"])
def test_an_id_that_nobody_can_choose(http: httpx.Client, name: str) -> None:
    answer = put(http, name)
    assert (answer.status_code, error_of(answer)) == (400, "bad_request")


def test_a_stop_that_comes_before_its_start_wins(http: httpx.Client) -> None:
    name = unused_id()
    for _ in range(2):
        stopped = http.post(f"/v1/executions/{name}/cancel")
        assert (stopped.status_code, stopped.json()) == (200, {"execution_id": name})
    assert http.get(f"/v1/executions/{name}").status_code == 404
    events = check(put(http, name, stream=True, input={"n": 10_000, "pause": 1}).content)
    assert [event.event for event in events] == ["start", "error"]
    assert events[1].data == {"code": "cancelled", "message": "The execution was cancelled."}
    assert http.get(f"/v1/executions/{name}").json()["status"] == "cancelled"
    minted = http.post("/v1/executions/exec_nope/cancel")
    assert (minted.status_code, error_of(minted)) == (404, "execution_not_found")


def test_the_sdk_cancels_what_it_has_not_started_yet(system: System) -> None:
    with MachPay(base_url=system.url) as client:
        stream = client.skills.stream("count", {"n": 10_000, "pause": 1}, execution_id=unused_id())
        stream.cancel()
        with pytest.raises(StreamError, match="cancelled"):
            list(stream)
        assert client.executions.get(str(stream.execution_id)).status == "cancelled"


def test_an_execution_ends_at_the_limit_that_its_start_asked_for(http: httpx.Client) -> None:
    body = {"skill_id": "count", "input": {"n": 10_000, "pause": 0.02}, "timeout": 0.2}
    events = check(put(http, unused_id(), stream=True, **body).content)
    assert events[-1].data["code"] == "timeout"
    polite = {**body, "timeout": 3600, "input": {"n": 2}, "on_disconnect": {"cancel_after": 30}}
    assert check(put(http, unused_id(), stream=True, **polite).content)[-1].event == "end"


# -- resuming


@pytest.fixture(scope="module")
def ended(system: System) -> Iterator[list[WireEvent]]:
    with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as client:
        yield start(client, n=10)


def test_every_cursor_resumes_at_every_endpoint(http: httpx.Client, ended: list[WireEvent]) -> None:
    url = f"/v1/executions/{ended[0].data['executionId']}/stream"
    for place, event in enumerate(ended[:-1]):
        rest = [(e.event, e.data, e.id) for e in ended[place + 1 :]]
        header = {"Last-Event-ID": event.id}
        answers = [
            http.get(url, headers=header),
            http.get(url, params={"last_event_id": event.id}),
            http.get(url, params={"last_event_id": ended[-1].id}, headers=header),
            http.post("/v1/skills/count/stream", json={"input": {}}, headers=header),
        ]
        for answer in answers:
            assert answer.status_code == 200
            assert [(e.event, e.data, e.id) for e in check(answer.content)] == rest


def test_after_the_end_a_get_is_204_and_a_post_is_empty(
    http: httpx.Client, ended: list[WireEvent]
) -> None:
    header = {"Last-Event-ID": ended[-1].id}
    url = f"/v1/executions/{ended[0].data['executionId']}/stream"
    assert http.get(url, headers=header).status_code == 204
    answer = http.post("/v1/skills/count/stream", json={"input": {}}, headers=header)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_cut_connection_resumes_without_loss_or_repetition(system: System) -> None:
    """Cut the TCP connection at many places; put together, it is one complete stream."""
    body = json.dumps({"input": {"n": 40, "pause": 0.01}}).encode()
    received: list[WireEvent] = []
    cuts = 0
    while not received or received[-1].event != "end":
        cursor = received[-1].id if received else None
        piece = check_prefix(cut_request(system, body, cursor, after=350 + 170 * cuts))
        received += piece
        cuts += 1
        assert cuts < 60
    assert cuts > 5
    assert texts(received) == [f"{n} " for n in range(40)]
    assert len({event.id for event in received}) == len(received)


def cut_request(system: System, body: bytes, cursor: str | None, after: int) -> bytes:
    """Repeat a POST, as fetch-event-source does, and cut the connection after some bytes."""
    connection = HTTPConnection("127.0.0.1", system.port, timeout=30)
    headers = {"Last-Event-ID": cursor} if cursor else {}
    connection.request("POST", "/v1/skills/count/stream", body, headers)
    response = connection.getresponse()
    assert response.status == 200
    received = b""
    while len(received) < after and (piece := response.read1(50)):
        received += piece
    response.close()
    connection.close()
    return received


def test_a_cursor_beyond_the_end_is_log_lost_and_then_final(
    http: httpx.Client, ended: list[WireEvent]
) -> None:
    execution_id = ended[0].data["executionId"]
    url = f"/v1/executions/{execution_id}/stream"
    last = Cursor.parse(ended[-1].id).position
    for lost in (Position(last.attempt, last.seq + 1), Position(last.attempt + 1, last.seq)):
        cursor = str(Cursor(execution_id, lost))
        (error,) = check(http.get(url, headers={"Last-Event-ID": cursor}).content)
        assert (error.event, error.data["code"]) == ("error", "log_lost")
        again = http.get(url, headers={"Last-Event-ID": error.id})
        assert again.status_code == 204


# -- bad input


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b'"text"', 400, "bad_request"),
        (b'{"input": []}', 400, "bad_request"),
        (b'{"input": NaN}', 400, "bad_request"),
        (b'{"input": {"a": 1e999}}', 400, "bad_request"),
        (b'{"input": {"a": "\xff"}}', 400, "bad_request"),
        (b'{"input": {"a": "\\ud800"}}', 400, "bad_request"),
        (b'{"input": ' + b"[" * 100_000, 400, "bad_request"),
        (b'{"input": {"a": ' + b'{"a":' * 100_000, 400, "bad_request"),
        (b'{"inptu": {}}', 400, "bad_request"),
        (b'{"input": {}, "max_cost_usd": 0}', 400, "bad_request"),
        (b'{"input": {}, "timeout": 0}', 400, "bad_request"),
        (b'{"input": {}, "on_disconnect": {"cancel_after": 0}}', 400, "bad_request"),
        (b'{"input": {"a": "' + b"x" * (2 << 20) + b'"}}', 413, "body_too_large"),
    ],
)
def test_a_bad_body(http: httpx.Client, body: bytes, status: int, code: str) -> None:
    for path in ("/v1/skills/count/stream", "/v1/skills/count/executions"):
        response = http.post(path, content=body)
        assert (response.status_code, error_of(response)) == (status, code)


def test_a_body_too_large_that_does_not_say_so(http: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"input": {"a": "'
        for _ in range(32):
            yield b"x" * (64 << 10)

    response = http.post("/v1/skills/count/stream", content=pieces())
    assert (response.status_code, error_of(response)) == (413, "body_too_large")


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "1-3", "exec_a.1", "exec_a.1-", "exec_a.-1-3", "exec_a.01-3", "exec_a:1-3", "e.1-3.1-3",
     "exec_a.1-3 ", "exec_a.1-9999999999999999", "x" * 10_000, "exec_\u00e4.1-3", "%0d%0a.1-1"],
)  # fmt: skip
def test_a_malformed_cursor(http: httpx.Client, cursor: str) -> None:
    answers = [
        http.get("/v1/executions/exec_a/stream", params={"last_event_id": cursor}),
        http.post("/v1/skills/count/stream", json={}, params={"last_event_id": cursor}),
    ]
    if cursor.strip() == cursor and cursor.isascii():
        answers.append(http.get("/v1/executions/exec_a/stream", headers={"Last-Event-ID": cursor}))
    for answer in answers:
        assert (answer.status_code, error_of(answer)) == (400, "bad_cursor")


def test_a_cursor_of_another_execution(http: httpx.Client, ended: list[WireEvent]) -> None:
    answer = http.get("/v1/executions/exec_a/stream", headers={"Last-Event-ID": ended[0].id})
    assert (answer.status_code, error_of(answer)) == (400, "bad_cursor")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/v1/skills/nope/stream", "skill_not_found"),
        ("POST", "/v1/skills/nope/executions", "skill_not_found"),
        ("GET", "/v1/skills/nope", "skill_not_found"),
        ("GET", "/v1/executions/exec_nope", "execution_not_found"),
        ("GET", "/v1/executions/exec_nope/stream", "execution_not_found"),
        ("GET", "/v1/executions/%2e%2e", "execution_not_found"),
        ("GET", "/v1/nothing", "not_found"),
        ("GET", "/nothing", "not_found"),
    ],
)
def test_what_is_not_there(http: httpx.Client, method: str, path: str, code: str) -> None:
    response = http.request(method, path, json={} if method == "POST" else None)
    assert (response.status_code, error_of(response)) == (404, code)


def test_a_cursor_of_an_unknown_execution(http: httpx.Client) -> None:
    header = {"Last-Event-ID": "exec_nope.1-3"}
    for answer in (
        http.get("/v1/executions/exec_nope/stream", headers=header),
        http.post("/v1/skills/count/stream", json={}, headers=header),
    ):
        assert (answer.status_code, error_of(answer)) == (404, "execution_not_found")


def test_a_wrong_method(http: httpx.Client) -> None:
    response = http.delete("/v1/skills")
    assert (response.status_code, error_of(response)) == (405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize(
    ("how", "code", "chunks"),
    [
        ("bytes", "skill_error", ["so far "]),
        ("raise", "skill_error", ["so far "]),
        ("polite", "too_long", ["so far "]),
        ("idle", "idle_timeout", ["so far "]),
    ],
)
def test_a_handler_that_fails(
    http: httpx.Client, system: System, how: str, code: str, chunks: list[str]
) -> None:
    events = start(http, "odd", how=how)
    assert texts(events) == chunks
    assert (events[-1].event, events[-1].data["code"]) == ("error", code)
    assert "secret" not in json.dumps(events[-1].data)
    logs = "".join(child.log.read_text() for child in system.children.values())
    assert events[0].data["executionId"] in logs or how in ("polite", "idle")
    if how == "bytes":
        assert "bytes" in logs
    if how == "raise":
        assert "secret detail" in logs


def test_a_handler_that_runs_too_long(http: httpx.Client) -> None:
    events = start(http, "odd", how="endless")
    assert events[-1].data["code"] == "timeout"
    assert len(texts(events)) > 1


def test_the_registry(http: httpx.Client) -> None:
    skills = http.get("/v1/skills").json()["skills"]
    assert {"count", "impatient", "odd", "plain", "relay"} <= {skill["id"] for skill in skills}
    assert all(skill["live"] for skill in skills)
    one = http.get("/v1/skills/count").json()
    assert (one["name"], one["pricing"]["base_usd"]) == ("Count", 0.01)


def test_health(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}

"""Starts under an id that the client chose, and stops that come before them, at a skill server."""

import json
from typing import Any

import httpx
import pytest

from machpay._position import ORIGIN
from machpay.serve import bars
from machpay.serve.callers import Caller
from machpay.serve.executions import ApiError, StartRequest
from machpay.serve.memory import MemoryExecutions
from machpay.serve.turn import Turn
from tests.skill_server.serving import Raw, request
from tests.skill_server.sides import Server
from tests.skill_server.skills import Gates
from tests.wire import check, check_prefix

A = Caller(account="a")
B = Caller(account="b")

MINE = "/v1/executions/mine"
SSE = "Accept: text/event-stream"


def put(served: Server, *headers: str, path: str = MINE, **body: Any) -> Raw:
    content = json.dumps({"skill_id": "echo", "input": {"texts": ["a"]}, **body}).encode()
    return served.raw(request("PUT", path, content, *headers))


def code_of(answer: Raw | httpx.Response) -> str:
    content = answer.body if isinstance(answer, Raw) else answer.content
    return str(json.loads(content)["error"]["code"])


def cancel(served: Server, execution_id: str = "mine") -> httpx.Response:
    return served.http.post(f"/v1/executions/{execution_id}/cancel")


def test_a_start_under_a_chosen_id_is_answered_as_any_other(served: Server) -> None:
    answer = put(served)
    assert answer.status == 202
    assert json.loads(answer.body) == {
        "execution_id": "mine",
        "skill_id": "echo",
        "stream_url": f"{MINE}/stream",
        "status_url": MINE,
    }
    assert answer.header("location") == MINE
    assert answer.header("idempotency-replayed") is None
    events = check(served.http.get(f"{MINE}/stream").content)
    assert events[0].data == {"executionId": "mine", "skillId": "echo"}
    assert served.http.get(MINE).json()["status"] == "completed"


def test_it_streams_at_once_where_events_are_asked_for(served: Server) -> None:
    answer = put(served, "Accept: application/json;q=0.5, text/event-stream")
    assert answer.status == 200
    assert [event.event for event in check(answer.body)] == ["start", "chunk", "end"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("TEXT/Event-Stream", 200),
        ("application/json, text/event-stream;q=0.1", 200),
        ("text/event-stream;q=0", 202),
        ("text/event-stream; Q=0.00, */*", 202),
        ("text/event-streams", 202),
        ("*/*", 202),
    ],
)
def test_what_accept_says_is_read_as_http_has_it(served: Server, accept: str, status: int) -> None:
    assert put(served, f"Accept: {accept}").status == status


@pytest.mark.parametrize("headers", [[], [SSE]], ids=["background", "stream"])
def test_the_same_start_again_is_the_same_execution(
    served: Server, gates: Gates, headers: list[str]
) -> None:
    first, again = put(served, *headers), put(served, *headers)
    assert again.status == first.status
    assert again.header("idempotency-replayed") == "true"
    if headers:
        assert [e.raw for e in check(again.body)][1:] == [e.raw for e in check(first.body)][1:]
    else:
        assert again.body == first.body
    check(served.http.get(f"{MINE}/stream").content)
    assert gates.runs == 1


@pytest.mark.parametrize(
    "other",
    [
        {"input": {"texts": ["b"]}},
        {"skill_id": "endless"},
        {"timeout": 5},
        {"on_disconnect": {"cancel_after": 30}},
    ],
)
def test_another_start_under_the_same_id_is_refused(
    served: Server, gates: Gates, other: dict[str, Any]
) -> None:
    put(served)
    answer = put(served, **other)
    assert (answer.status, code_of(answer)) == (422, "idempotency_mismatch")
    check(served.http.get(f"{MINE}/stream").content)
    assert gates.runs == 1


def test_a_default_that_is_spelt_out_is_no_other_start(served: Server) -> None:
    put(served, timeout=5)
    again = put(served, timeout=5.0, on_disconnect="continue")
    assert again.header("idempotency-replayed") == "true"


def test_a_key_beside_a_chosen_id_is_ignored(served: Server, gates: Gates) -> None:
    put(served, "Idempotency-Key: one")
    for keys in (["Idempotency-Key: two"], ["Idempotency-Key: one", "Idempotency-Key: two"]):
        assert put(served, *keys).header("idempotency-replayed") == "true"
    other = put(served, "Idempotency-Key: two", path="/v1/executions/other")
    assert json.loads(other.body)["execution_id"] == "other"


@pytest.mark.parametrize(
    "name", ["exec_", "exec_aaaaaaaaaaaaaaaaaaaaaaaaaa", "a.b", "a%20b", "a" * 65]
)
@pytest.mark.parametrize("headers", [[], [SSE], [SSE, "Last-Event-ID: exec_a.1-3"]])
def test_an_id_that_nobody_can_choose(
    served: Server, gates: Gates, name: str, headers: list[str]
) -> None:
    answer = put(served, *headers, path=f"/v1/executions/{name}")
    assert (answer.status, code_of(answer)) == (400, "bad_request")
    assert gates.runs == 0


@pytest.mark.parametrize("name", ["a", "A-z_~9", "exec", "exec-1", "EXEC_1", "a" * 64])
def test_ids_that_can_be_chosen(served: Server, name: str) -> None:
    events = check(put(served, SSE, path=f"/v1/executions/{name}").body)
    assert events[0].data["executionId"] == name


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{}", 400, "bad_request"),
        (b'{"skill_id":""}', 400, "bad_request"),
        (b'{"skill_id":null}', 400, "bad_request"),
        (b'{"skill_id":["echo"]}', 400, "bad_request"),
        (b'{"skill_id":"echo","inptu":{}}', 400, "bad_request"),
        (b'{"skill_id":"echo","max_cost_usd":0}', 400, "bad_request"),
        (b'{"skill_id":"nope"}', 404, "skill_not_found"),
        (b'{"skill_id":"..\\u0000"}', 404, "skill_not_found"),
    ],
)
@pytest.mark.parametrize("headers", [[], [SSE]], ids=["background", "stream"])
def test_a_bad_body(
    served: Server, gates: Gates, body: bytes, status: int, code: str, headers: list[str]
) -> None:
    answer = served.raw(request("PUT", MINE, body, *headers))
    assert (answer.status, code_of(answer)) == (status, code)
    assert served.http.get(MINE).status_code == 404
    assert gates.runs == 0


def test_a_put_with_a_cursor_resumes(served: Server, gates: Gates) -> None:
    whole = check(put(served, SSE).body)
    for place, event in enumerate(whole[:-1]):
        rest = check(put(served, SSE, f"Last-Event-ID: {event.id}", input={}).body)
        assert [e.id for e in rest] == [e.id for e in whole[place + 1 :]]
    ended = put(served, SSE, f"Last-Event-ID: {whole[-1].id}")
    assert (ended.status, ended.body) == (200, b"")
    foreign = put(served, SSE, "Last-Event-ID: other.1-3")
    assert (foreign.status, code_of(foreign)) == (400, "bad_cursor")
    unknown = put(served, SSE, "Last-Event-ID: other.1-3", path="/v1/executions/other")
    assert (unknown.status, code_of(unknown)) == (404, "execution_not_found")
    assert gates.runs == 1


def test_a_start_that_is_left_goes_on_with_its_cursor(served: Server, gates: Gates) -> None:
    body = json.dumps({"skill_id": "gated", "input": {"gate": "g"}}).encode()
    with served.http.stream(
        "PUT", MINE, content=body, headers={"Accept": "text/event-stream"}
    ) as answer:
        received = b""
        for piece in answer.iter_raw():
            received += piece
            if b"before" in received:
                break
    seen = check_prefix(received)
    gates.gate("g").set()
    resumed = served.raw(request("PUT", MINE, body, SSE, f"Last-Event-ID: {seen[-1].id}"))
    assert [event.event for event in seen + check(resumed.body)] == [
        "start",
        "chunk",
        "chunk",
        "end",
    ]
    assert gates.runs == 1


# ---- a stop that comes first


@pytest.mark.parametrize("headers", [[], [SSE]], ids=["background", "stream"])
def test_a_cancellation_that_comes_before_its_start_wins(
    served: Server, gates: Gates, headers: list[str]
) -> None:
    for _ in range(2):
        answer = cancel(served)
        assert (answer.status_code, answer.json()) == (200, {"execution_id": "mine"})
    assert served.http.get(MINE).status_code == 404
    started = put(served, *headers)
    assert started.header("idempotency-replayed") is None
    stream = started.body if headers else served.http.get(f"{MINE}/stream").content
    events = check(stream)
    assert [event.event for event in events] == ["start", "error"]
    assert events[0].data == {"executionId": "mine", "skillId": "echo"}
    assert events[1].data == {"code": "cancelled", "message": "The execution was cancelled."}
    assert served.http.get(MINE).json()["status"] == "cancelled"
    assert put(served).header("idempotency-replayed") == "true"
    assert code_of(put(served, input={})) == "idempotency_mismatch"
    assert cancel(served).status_code == 200
    assert gates.runs == 0


def test_another_start_is_not_barred(served: Server, gates: Gates) -> None:
    cancel(served)
    assert check(put(served, SSE, path="/v1/executions/other").body)[-1].event == "end"


@pytest.mark.parametrize("name", ["exec_nope", "a.b", "a" * 65])
def test_an_id_that_nobody_can_start_can_not_be_barred(served: Server, name: str) -> None:
    answer = cancel(served, name)
    assert (answer.status_code, code_of(answer)) == (404, "execution_not_found")


def test_a_running_execution_under_a_chosen_id_is_cancelled(served: Server, gates: Gates) -> None:
    body = json.dumps({"skill_id": "gated", "input": {"gate": "never"}}).encode()
    served.raw(request("PUT", MINE, body))
    assert cancel(served).status_code == 200
    events = check(served.http.get(f"{MINE}/stream").content)
    assert (events[-1].event, events[-1].data["code"]) == ("error", "cancelled")
    assert gates.finished == 0


async def start(
    executions: MemoryExecutions, execution_id: str, account: str = "a", skill_id: str = "echo"
) -> StartRequest:
    skill = await executions.skill(skill_id)
    assert skill is not None
    asked = StartRequest(skill=skill, input={}, account=account, chosen_id=execution_id)
    await executions.start(asked)
    return asked


async def ending(executions: MemoryExecutions, execution_id: str) -> str:
    body = b"".join([block async for block in executions.read(execution_id, ORIGIN, Turn())])
    return check(body)[-1].event


async def test_a_foreign_execution_is_neither_started_nor_stopped(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        await start(executions, "mine", skill_id="endless")
        for ask in (start(executions, "mine", "b", "endless"), executions.cancel("mine", B)):
            with pytest.raises(ApiError) as refused:
                await ask
            assert (refused.value.status, refused.value.code) == (404, "execution_not_found")
        assert (await executions.describe("mine", A)).status == "running"


async def test_a_cancellation_bars_nobody_elses_start(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills) as executions:
        await executions.cancel("mine", B)
        await start(executions, "mine", "a")
        assert await ending(executions, "mine") == "end"


async def test_a_barred_start_needs_no_room(gates: Gates) -> None:
    async with MemoryExecutions(gates.skills, max_running=1) as executions:
        await start(executions, "full", skill_id="endless")
        await executions.cancel("mine", A)
        await start(executions, "mine")
        assert await ending(executions, "mine") == "error"


def test_what_is_barred_is_bounded_and_the_oldest_make_room() -> None:
    barred = bars.Bars(kept=3)
    for name in ("a", "b", "a", "c", "d"):
        barred.add(name, "alice")
    assert [barred.has(name, "alice") for name in "abcd"] == [True, False, True, True]
    assert not barred.has("a", "bob")


def test_a_bar_is_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(bars, "monotonic", lambda: now)
    barred = bars.Bars()
    barred.add("a", "alice")
    now += 24 * 3600 - 1
    assert barred.has("a", "alice")
    now += 1
    assert not barred.has("a", "alice")

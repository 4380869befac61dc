"""Requests: what is refused, how, and that nothing starts by it."""

import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from machpay._position import Position
from machpay.serve.access import Access
from machpay.serve.callers import Caller
from machpay.serve.drain import Drain
from machpay.serve.executions import (
    ExecutionInfo,
    Place,
    SkillInfo,
    Started,
    StartRequest,
    Unavailable,
    unauthorized,
)
from machpay.serve.memory import MemoryExecutions
from machpay.serve.routes import EXCEPTION_HANDLERS, routes
from machpay.serve.streams import Streams
from machpay.serve.turn import Turn
from tests.skill_server.serving import Raw, read_raw, request, serving
from tests.skill_server.sides import Serve, Server
from tests.skill_server.skills import Gates
from tests.wire import check, check_prefix, check_retry_only

STREAM = "/v1/skills/echo/stream"


def error_of(answer: Raw) -> tuple[int, str]:
    """Check the one form of an error body; return status and code."""
    assert answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"
    body = json.loads(answer.body)
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message"}
    assert body["error"]["message"].endswith(".")
    return answer.status, body["error"]["code"]


BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b" ", "bad_request"),
    "not JSON": (b"{input", "bad_request"),
    "form": (b"input=1", "bad_request"),
    "array": (b"[]", "bad_request"),
    "null": (b"null", "bad_request"),
    "input is no object": (b'{"input":[]}', "bad_request"),
    "input is null": (b'{"input":null}', "bad_request"),
    "unknown key": (b'{"input":{},"inptu":{}}', "bad_request"),
    "a price of its own": (b'{"input":{},"price_usd":0}', "bad_request"),
    "bad UTF-8": (b'{"input":{"a":"\xff"}}', "bad_request"),
    "bad UTF-8 outside": (b"\xff", "bad_request"),
    "lone surrogate": (b'{"input":{"a":"\\ud83d"}}', "bad_request"),
    "lone low surrogate": (b'{"input":{"a":"\\ude00 "}}', "bad_request"),
    "deep": (b'{"input":' + b"[" * 100_000, "bad_request"),
    "deep and closed": (b'{"input":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "bad_request"),
    "NaN": (b'{"input":{"a":NaN}}', "bad_request"),
    "infinity": (b'{"input":{"a":1e999}}', "bad_request"),
    "endless number": (b'{"input":{"a":' + b"1" * 100_000 + b"}}", "bad_request"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "bad_request"),
    "BOM": (b'\xef\xbb\xbf{"input":{}}', "bad_request"),
    "two values": (b'{"input":{}}{"input":{}}', "bad_request"),
    "a skill that the path names": (b'{"skill_id":"echo"}', "bad_request"),
}

NO_OPTIONS: dict[str, tuple[str, list[str]]] = {
    "max_cost_usd": (
        "max_cost_usd",
        ["0", "-1", '"5 USD"', '"0"', "true", "null", "[]", "{}", "1" + "0" * 400],
    ),
    "timeout": ("timeout", ["0", "-1", '"5"', "true", "null", "[]", "{}", "1" + "0" * 400]),
    "on_disconnect": (
        "on_disconnect",
        [
            *("null", "true", '"stop"', '""', "30", "[]", "{}", '["cancel_after"]'),
            *('{"after":30}', '{"cancel_after":30,"and":1}'),
        ],
    ),
    "cancel_after": (
        "on_disconnect",
        [
            f'{{"cancel_after":{value}}}'
            for value in ("0", "0.99", "86400.1", "-5", '"30"', "true", "null", "1" + "0" * 400)
        ],
    ),
}


@pytest.mark.parametrize("name", NO_OPTIONS)
def test_an_option_that_is_none_is_named(served: Server, gates: Gates, name: str) -> None:
    key, values = NO_OPTIONS[name]
    for value in values:
        body = f'"{key}":{value},"input":{{}}}}'.encode()
        for message in (
            request("POST", STREAM, b"{" + body),
            request("POST", "/v1/skills/echo/executions", b"{" + body),
            request("PUT", "/v1/executions/mine", b'{"skill_id":"echo",' + body),
        ):
            answer = served.raw(message)
            assert error_of(answer) == (400, "bad_request"), value
            assert name in json.loads(answer.body)["error"]["message"], value
    assert gates.runs == 0


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_the_senders_400(served: Server, gates: Gates, name: str) -> None:
    body, code = BODIES[name]
    answer = served.raw(request("POST", STREAM, body))
    assert error_of(answer) == (400, code)
    answer = served.raw(request("POST", "/v1/skills/echo/executions", body))
    assert error_of(answer) == (400, code)
    assert gates.runs == 0


@pytest.mark.parametrize("key", ["inptu", "timeout", "max_cost_usd", "on_disconnect", "skill_id"])
def test_a_refused_key_is_named(served: Server, key: str) -> None:
    answer = served.raw(request("POST", STREAM, json.dumps({key: -1}).encode()))
    assert key in json.loads(answer.body)["error"]["message"]


def test_no_body_at_all_is_no_start(served: Server, gates: Gates) -> None:
    assert error_of(served.raw(request("POST", STREAM))) == (400, "bad_request")
    assert gates.runs == 0


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"input":{}}', b' {"input" : {"a": [1, 1.5, null]}} ',
     b'{"timeout":5,"on_disconnect":"continue"}', b'{"timeout":0.5e1,"on_disconnect":{"cancel_after":1}}',
     b'{"on_disconnect":{"cancel_after":86400}}'],
)  # fmt: skip
def test_a_good_body(served: Server, body: bytes) -> None:
    assert check(served.raw(request("POST", STREAM, body)).body)[-1].event == "end"


# ---- size


def sized(size: int) -> bytes:
    return b'{"input":{"a":"' + b"x" * (size - 18) + b'"}}'


def chunked(body: bytes) -> bytes:
    pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("announced", [True, False], ids=["Content-Length", "chunked"])
@pytest.mark.parametrize("over", [0, 1, 3_000_000])
def test_the_largest_body_with_or_without_its_length(
    served: Server, gates: Gates, announced: bool, over: int
) -> None:
    body = sized((1 << 20) + over)
    if announced:
        message = request("POST", STREAM, body)
    else:
        message = request("POST", STREAM, b"", "Transfer-Encoding: chunked") + chunked(body)
    answer = served.raw(message)
    if over:
        assert error_of(answer) == (413, "body_too_large")
        assert answer.header("connection") == "close"
        assert gates.runs == 0
    else:
        check(answer.body)


@pytest.mark.parametrize(
    "headers",
    [["Content-Length: 1073741824"], ["Content-Length: 2000000", "Expect: 100-continue"]],
    ids=["far too large", "asks first"],
)
def test_what_is_announced_as_too_large_is_refused_unread(
    served: Server, headers: list[str]
) -> None:
    answer = served.raw(request("POST", STREAM, b"", *headers))
    assert error_of(answer) == (413, "body_too_large")


def test_an_endless_body_is_refused_while_it_arrives(served: Server) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request("POST", STREAM, b"", "Transfer-Encoding: chunked"))
        piece = b"%x\r\n%b\r\n" % (1 << 16, b"x" * (1 << 16))
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - whichever write it is
            for _ in range(4 * (8 << 20) // (1 << 16)):
                connection.sendall(piece)


def test_the_limit_can_be_set(serve: Serve) -> None:
    with serve(max_body_bytes=100) as served:
        check(served.raw(request("POST", STREAM, sized(100))).body)
        assert error_of(served.raw(request("POST", STREAM, sized(101))))[0] == 413


def test_a_body_that_takes_too_long(serve: Serve) -> None:
    with serve(body_timeout=0.05) as served:
        answer = served.raw(request("POST", STREAM, b"", "Content-Length: 10") + b'{"in')
    assert error_of(answer) == (408, "request_timeout")


def test_a_client_that_leaves_within_its_body_is_no_error_of_ours(
    served: Server, gates: Gates, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request("POST", STREAM, b"", "Content-Length: 10") + b'{"in')
    check(served.raw(request("POST", STREAM, b"{}")).body)
    assert gates.runs == 1
    assert "Traceback" not in caplog.text


# ---- cursors

EXECUTION = "exec_aaaaaaaaaaaaaaaaaaaaaaaaaa"
BAD_CURSORS = [
    "",
    "x",
    EXECUTION,
    f"{EXECUTION}:1-3",
    f"{EXECUTION}.1",
    f"{EXECUTION}.-1-3",
    f"{EXECUTION}.1-",
    f"{EXECUTION}.01-3",
    f"{EXECUTION}.1-3 4",
    f"{EXECUTION}.1-3.5",
    f"{EXECUTION}.9999999999-3",
    f"{EXECUTION}.1-9999999999999999",
    "a" * 65 + ".1-3",
    "x" * 10_000,
    "null",
    "undefined",
    "0",
    "\xff\xfe.1-3",
    f"{EXECUTION}.1-\xb3",
]


@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=lambda cursor: repr(cursor[:40]))
def test_a_malformed_cursor_is_400_and_never_the_start(
    served: Server, gates: Gates, cursor: str
) -> None:
    header = f"Last-Event-ID: {cursor}"
    get = request("GET", f"/v1/executions/{EXECUTION}/stream", b"", header)
    assert error_of(served.raw(get)) == (400, "bad_cursor")
    assert error_of(served.raw(request("POST", STREAM, b"{}", header))) == (400, "bad_cursor")
    assert gates.runs == 0


@pytest.mark.parametrize("cursor", ["", "x", "%00", "%0d%0aX:1", "a%20b", "%ff.1-3", "%D9%A1.1-3"])
def test_a_malformed_cursor_in_the_query(served: Server, gates: Gates, cursor: str) -> None:
    for message in (
        request("GET", f"/v1/executions/{EXECUTION}/stream?last_event_id={cursor}"),
        request("POST", f"{STREAM}?last_event_id={cursor}", b"{}"),
    ):
        assert error_of(served.raw(message)) == (400, "bad_cursor")
    assert gates.runs == 0


def test_two_cursors_are_none(served: Server) -> None:
    header = f"Last-Event-ID: {EXECUTION}.1-3"
    get = request("GET", f"/v1/executions/{EXECUTION}/stream", b"", header, header)
    assert error_of(served.raw(get)) == (400, "bad_cursor")


def test_a_cursor_of_another_execution_than_the_urls(served: Server) -> None:
    get = request("GET", f"/v1/executions/{EXECUTION}/stream", b"", "Last-Event-ID: other.1-3")
    assert error_of(served.raw(get)) == (400, "bad_cursor")


@pytest.mark.parametrize(
    "message",
    [
        request("GET", f"/v1/executions/{EXECUTION}"),
        request("GET", f"/v1/executions/{EXECUTION}/stream"),
        request(
            "GET", f"/v1/executions/{EXECUTION}/stream", b"", f"Last-Event-ID: {EXECUTION}.1-3"
        ),
        request("POST", STREAM, b"{}", f"Last-Event-ID: {EXECUTION}.1-3"),
        request("GET", "/v1/executions/not%20an%20id"),
        request("GET", "/v1/executions/a.b/stream"),
        request("GET", "/v1/executions/" + "a" * 65),
    ],
)
def test_an_unknown_execution_is_404(served: Server, gates: Gates, message: bytes) -> None:
    assert error_of(served.raw(message)) == (404, "execution_not_found")
    assert gates.runs == 0


# ---- routes


@pytest.mark.parametrize(
    "skill", ["nope", "ECHO", "echo%0d%0a", "..%00", "%F0%9F%98%80", "a" * 5000]
)
def test_an_unknown_skill_is_404(served: Server, skill: str) -> None:
    for message in (
        request("POST", f"/v1/skills/{skill}/stream", b"{}"),
        request("POST", f"/v1/skills/{skill}/executions", b"{}"),
        request("GET", f"/v1/skills/{skill}"),
    ):
        assert error_of(served.raw(message)) == (404, "skill_not_found")


@pytest.mark.parametrize(
    "path",
    ["/", "/nope", "/v1", "/v1/skills/", "/v1/skills/echo/", "//v1/skills", "/v1/skills/a%2Fb"],
)
def test_an_unknown_route_is_404(served: Server, path: str) -> None:
    assert error_of(served.raw(request("GET", path))) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", STREAM, {"POST"}),
        ("HEAD", STREAM, {"POST"}),
        ("PUT", STREAM, {"POST"}),
        ("DELETE", "/v1/executions/x", {"GET", "HEAD", "PUT"}),
        ("POST", "/v1/executions/x", {"GET", "HEAD", "PUT"}),
        ("POST", "/v1/executions/x/stream", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405_and_says_which_are_right(
    served: Server, gates: Gates, method: str, path: str, allow: set[str]
) -> None:
    answer = served.raw(
        request(method, path, b"{}" if method == "POST" else b"", "Connection: close")
    )
    assert answer.status == 405
    assert set((answer.header("allow") or "").split(", ")) == allow
    if method != "HEAD":
        assert error_of(answer) == (405, "method_not_allowed")
    assert gates.runs == 0


def test_the_registry(served: Server) -> None:
    skills = served.http.get("/v1/skills").json()["skills"]
    assert [skill["id"] for skill in skills] == ["echo", "endless", "failing", "gated", "large"]
    assert skills[0] == {
        "id": "echo",
        "name": "Echo",
        "description": "Says it again.",
        "streaming": True,
        "pricing": {"base_usd": 0.001, "per_token_usd": 0.00002, "per_second_usd": 0},
        "timeout": 3600.0,
        "queue_timeout": 300.0,
        "idle_timeout": 300.0,
        "max_output_bytes": 16 << 20,
        "on_interrupt": "fail",
        "live": True,
    }
    assert served.http.get("/v1/skills/echo").json() == skills[0]
    assert served.http.get("/healthz").json() == {"status": "ok"}


def test_a_background_start(served: Server, gates: Gates) -> None:
    answer = served.http.post("/v1/skills/gated/executions", json={"input": {"gate": "g"}})
    assert answer.status_code == 202
    body = answer.json()
    execution_id = body["execution_id"]
    assert body == {
        "execution_id": execution_id,
        "skill_id": "gated",
        "stream_url": f"/v1/executions/{execution_id}/stream",
        "status_url": f"/v1/executions/{execution_id}",
    }
    assert answer.headers["location"] == body["status_url"]
    with served.http.stream("GET", body["stream_url"]) as stream:
        received = b""
        for piece in stream.iter_raw():
            received += piece
            if b"before" in received and not gates.gate("g").is_set():
                info = served.http.get(body["status_url"]).json()
                assert (info["status"], info["text"]) == ("running", "before ")
                assert info["cursor"] == check_prefix(received)[-1].id
                gates.gate("g").set()
    events = check(received)
    info = served.http.get(body["status_url"]).json()
    assert info.pop("created_at") > 0
    assert info == {
        "execution_id": execution_id,
        "skill_id": "gated",
        "status": "completed",
        "attempt": 1,
        "text": "before after",
        "cursor": events[-1].id,
        "tokens_used": 3,
        "cost_usd": 0,
        "duration_ms": events[-1].data["durationMs"],
    }


def test_the_status_of_a_failed_execution(served: Server) -> None:
    body = served.http.post("/v1/skills/failing/executions", json={"input": {"own": True}}).json()
    check(served.http.get(body["stream_url"]).content)
    info = served.http.get(body["status_url"]).json()
    assert (info["status"], info["text"]) == ("failed", "part")
    assert info["error"] == {"code": "out_of_ink", "message": "No ink."}


@pytest.mark.parametrize("size", [0, 1000, 50_000])
def test_a_status_has_all_of_the_text(served: Server, size: int) -> None:
    body = {"input": {"chunks": 40, "size": size}}
    started = served.http.post("/v1/skills/large/executions", json=body).json()
    check(served.http.get(started["stream_url"]).content)
    answer = served.http.get(started["status_url"])
    assert answer.json()["text"] == "x" * (40 * size)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_access_decides_who_sees_what(gates: Gates, drain: Drain) -> None:
    class ByHeader(Access):
        async def identify(self, request: Request) -> Caller:
            account = request.headers.get("x-account")
            if account is None:
                raise unauthorized()
            return Caller(account=account)

    executions = MemoryExecutions(gates.skills)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with executions:
            yield

    app = Starlette(
        routes=routes(executions, drain=drain, streams=Streams(), access=ByHeader()),
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    drain.on_begin(executions.stop)
    with serving(app, drain) as served:
        mine = {"x-account": "a"}
        body = served.http.post("/v1/skills/echo/executions", json={}, headers=mine).json()
        for path in (body["status_url"], body["stream_url"]):
            assert served.http.get(path, headers=mine).status_code == 200
            foreign = served.http.get(path, headers={"x-account": "b"})
            unknown = served.http.get(path.replace("exec_", "exec-"), headers=mine)
            assert (foreign.status_code, foreign.content) == (404, unknown.content)
        for method, path in (
            ("POST", STREAM),
            ("POST", "/v1/skills/echo/executions"),
            ("GET", "/v1/skills"),
            ("GET", "/v1/skills/echo"),
            ("GET", body["status_url"]),
            ("GET", body["stream_url"]),
        ):
            assert served.http.request(method, path).status_code == 401
        assert served.http.get("/healthz").status_code == 200
    assert gates.runs == 1


# ---- a store that fails


class Broken:
    """Executions whose every method raises, but those given."""

    def __init__(self, error: Exception, frames: list[bytes] | None = None) -> None:
        self.error = error
        self.frames = frames

    async def skills(self) -> list[SkillInfo]:
        raise self.error

    async def skill(self, skill_id: str) -> SkillInfo | None:
        raise self.error

    async def start(self, request: StartRequest) -> Started:
        raise self.error

    async def cancel(self, execution_id: str, caller: Caller) -> None:
        raise self.error

    async def locate(self, execution_id: str, caller: Caller, after: Position) -> Place:
        if self.frames is None:
            raise self.error
        return Place.WITHIN

    async def read(self, execution_id: str, after: Position, turn: Turn) -> AsyncIterator[bytes]:
        for frame in self.frames or []:
            yield frame
        raise self.error

    async def describe(self, execution_id: str, caller: Caller) -> ExecutionInfo:
        raise self.error


def failing(error: Exception, frames: list[bytes] | None = None) -> Any:
    app = Starlette(
        routes=routes(Broken(error, frames), drain=Drain(), streams=Streams()),
        exception_handlers=EXCEPTION_HANDLERS,
    )
    return serving(app)


PLAIN = [
    request("GET", "/v1/skills"),
    request("GET", "/v1/skills/echo"),
    request("POST", STREAM, b"{}"),
    request("POST", "/v1/skills/echo/executions", b"{}"),
    request("GET", f"/v1/executions/{EXECUTION}"),
]
RESUMES = [
    request("GET", f"/v1/executions/{EXECUTION}/stream"),
    request("GET", f"/v1/executions/{EXECUTION}/stream", b"", f"Last-Event-ID: {EXECUTION}.1-3"),
    request("POST", STREAM, b"{}", f"Last-Event-ID: {EXECUTION}.1-3"),
]
CHUNK = (
    b'event: chunk\ndata: {"text":"x","index":0,"timestamp":1}\nid: %b.1-3\n\n' % EXECUTION.encode()
)


def test_a_store_that_is_away_is_503_but_never_to_a_resume() -> None:
    with failing(Unavailable()) as served:
        for message in PLAIN:
            answer = served.raw(message)
            assert error_of(answer) == (503, "unavailable")
            assert answer.header("retry-after") == "1"
        for message in RESUMES:
            answer = served.raw(message)
            assert (answer.status, answer.complete) == (200, True)
            assert answer.header("content-type") == "text/event-stream; charset=utf-8"
            check_retry_only(answer.body)


def test_an_unexpected_error_is_a_neutral_500(caplog: pytest.LogCaptureFixture) -> None:
    with failing(RuntimeError("secret detail")) as served:
        for message in PLAIN + RESUMES:
            answer = served.raw(message)
            assert error_of(answer) == (500, "internal")
            assert b"secret" not in answer.body
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("secret detail")], ids=repr)
def test_a_stream_whose_source_fails_ends_on_a_boundary(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with failing(error, [b":\n", CHUNK]) as served:
        answer = served.raw(RESUMES[0])
        assert answer.complete
        [event] = check(answer.body, complete=False)
        assert event.data["text"] == "x"
    with failing(error, []) as served:
        answer = served.raw(RESUMES[0])
        assert answer.complete
        check_retry_only(answer.body)
    assert ("secret detail" in caplog.text) == isinstance(error, RuntimeError)


# ---- other origins

PREFLIGHT = [
    "Origin: https://app.example",
    "Access-Control-Request-Method: GET",
    "Access-Control-Request-Headers: last-event-id",
]


@pytest.mark.parametrize(
    "path", ["/v1", STREAM, f"/v1/executions/{EXECUTION}/stream", "/v1/skills", "/api/stream"]
)
def test_a_preflight_without_configured_origins_allows_none(served: Server, path: str) -> None:
    answer = served.raw(request("OPTIONS", path, b"", *PREFLIGHT))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("access-control-allow-origin") is None
    assert (
        answer.header("access-control-allow-headers")
        == "last-event-id, authorization, content-type, idempotency-key"
    )
    assert "POST" in (answer.header("access-control-allow-methods") or "")
    assert answer.header("vary") == "Origin"


def test_no_origin_may_read_by_default(served: Server) -> None:
    answer = served.raw(request("GET", "/v1/skills", b"", "Origin: https://app.example"))
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") is None


@pytest.mark.parametrize(
    ("configured", "origin", "allowed"),
    [
        (["https://app.example"], "https://app.example", "https://app.example"),
        (["https://app.example"], "https://evil.example", None),
        (["https://app.example"], "null", None),
        (["*"], "https://any.example", "*"),
    ],
)
def test_configured_origins_may(
    serve: Serve, gates: Gates, configured: list[str], origin: str, allowed: str | None
) -> None:
    with serve(origins=configured) as served:
        for message in (
            request("OPTIONS", STREAM, b"", f"Origin: {origin}", *PREFLIGHT[1:]),
            request("GET", "/v1/skills", b"", f"Origin: {origin}"),
            request("GET", "/nope", b"", f"Origin: {origin}"),
            request("POST", STREAM, b"{}", f"Origin: {origin}"),
        ):
            answer = served.raw(message)
            assert answer.header("access-control-allow-origin") == allowed
            assert answer.header("access-control-allow-credentials") is None
            assert answer.header("vary") == "Origin"
    assert gates.runs == (0 if allowed is None else 1)


def to_host(host: str, path: str = "/v1/skills") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def test_on_loopback_no_name_but_its_own_leads_to_it(serve: Serve) -> None:
    """DNS rebinding: a page's own name was made to resolve to this machine."""
    with serve(origins=["https://app.example:8443"]) as served:
        for host in ("localhost:8080", "LOCALHOST", "a.localhost", "192.168.1.7:80", "[::1]:8080"):
            assert served.raw(to_host(host)).status == 200, host
        assert served.raw(to_host("app.example")).status == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1"):
            assert error_of(served.raw(to_host(host))) == (403, "forbidden"), host
        for path in (f"/v1/executions/{EXECUTION}", f"/v1/executions/{EXECUTION}/stream"):
            assert error_of(served.raw(to_host("evil.example", path))) == (403, "forbidden")
        started = request("POST", STREAM, b"{}").replace(b"Host: ", b"Host: evil.example\r\nX: ")
        assert error_of(served.raw(started)) == (403, "forbidden")
        # Whether it lives is no secret, and balancers ask by any name.
        assert served.raw(to_host("evil.example", "/healthz")).status == 200


def test_told_to_listen_for_others_it_answers_to_any_name(serve: Serve) -> None:
    """As a worker calls it that has ``MACHPAY_REMOTE_SKILLS=http://skills.internal:9000``."""
    for settings in ({"host": "0.0.0.0"}, {"origins": ["*"]}):
        with serve(**settings) as served:
            assert served.raw(to_host("skills.internal:9000")).status == 200


def test_a_request_has_one_host_and_every_answer_an_id(served: Server) -> None:
    seen = set()
    for status, message in (
        (200, request("GET", "/healthz")),
        (200, request("GET", "/v1/skills", b"", "Expect: nothing")),
        (200, request("POST", STREAM, b"{}")),
        (204, request("OPTIONS", STREAM, b"", "Origin: https://app.example")),
        (400, request("POST", STREAM, b"{")),
        (400, to_host("localhost").replace(b"Host: localhost\r\n", b"")),
        (400, to_host("localhost\r\nHost: localhost")),
        (400, request("GET", "/v1/skills", b"", "Authorization: a", "Authorization: b")),
        (404, request("GET", "/nope")),
        (405, request("PUT", "/v1/skills")),
    ):
        answer = served.raw(message)
        assert answer.status == status, message
        found = answer.header("x-request-id") or ""
        assert re.fullmatch("[0-9a-f]{32}", found), message
        seen.add(found)
    assert len(seen) == 10
    for given, kept in (("A.b_c-9", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)):
        answer = served.raw(request("GET", "/healthz", b"", f"X-Request-Id: {given}"))
        assert (answer.header("x-request-id") == given) is kept
    two = request("GET", "/healthz", b"", "X-Request-Id: one", "X-Request-Id: two")
    assert served.raw(two).header("x-request-id") not in {"one", "two", "one, two"}


def test_http_1_0_gets_a_stream_too(served: Server) -> None:
    message = request("POST", STREAM, b"{}").replace(b"HTTP/1.1", b"HTTP/1.0")
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(message)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if b"transfer-encoding: chunked" not in head:
        check(body)


def test_two_requests_on_one_connection(served: Server) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(request("POST", STREAM, b"{}"))
            check(read_raw(connection).body)
        connection.sendall(request("POST", STREAM, b"nonsense"))
        assert error_of(read_raw(connection))[0] == 400
        connection.sendall(request("POST", STREAM, b"{}"))
        check(read_raw(connection).body)

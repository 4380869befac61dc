"""Every answer names its request, and so does every line that was logged on the way to it."""

import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from machpay import Skill, SkillInput
from machpay.serve.request_ids import WithRequestId
from machpay.serve.server import create_app
from ops.system import System
from tests.safety.conftest import KEY
from tests.skill_server.serving import Raw, raw, read_raw, request, serving
from tests.waiting import wait_until
from tests.wire import check

MADE = re.compile(r"[0-9a-f]{32}")
BEARER = f"Authorization: Bearer {KEY}"
BROKEN = "/v1/usage?from=2020-01-01&to=2020-01-01"

ANSWERS: list[tuple[int, bytes]] = [
    (200, request("GET", "/healthz")),
    (200, request("HEAD", "/healthz")),
    (200, request("GET", "/readyz")),
    (200, request("GET", "/")),
    (200, request("GET", "/openapi.json")),
    (200, request("GET", "/v1/skills", b"", BEARER)),
    (200, request("POST", "/v1/skills/echo/stream", b"{}", BEARER)),
    (200, request("GET", "/api/stream?prompt=x", b"", BEARER)),
    (202, request("POST", "/v1/skills/echo/executions", b"{}", BEARER)),
    (204, request("OPTIONS", "/v1/skills", b"", "Origin: https://app.example")),
    (400, request("POST", "/v1/skills/echo/stream", b"{", BEARER)),
    (400, request("GET", "/v1/executions/x/stream", b"", BEARER, "Last-Event-ID: ?")),
    (401, request("GET", "/v1/skills")),
    (403, request("GET", "/v1/operations", b"", BEARER)),
    (404, request("GET", "/nope")),
    (404, request("GET", "/pages/nope")),
    (404, request("GET", "/v1/executions/nope", b"", BEARER)),
    (405, request("PUT", "/v1/skills", b"", BEARER)),
    (413, request("POST", "/v1/skills/echo/stream", b"", BEARER, "Content-Length: 99999999")),
    (422, request("POST", "/v1/skills/strict/stream", b"{}", BEARER)),
    (500, request("GET", BROKEN, b"", BEARER)),
]


def send(port: int, message: bytes) -> Raw:
    """Send a request; of an answer to HEAD, and of one without a body, the head is all there is."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(message.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        return read_raw(connection)


def id_of(answer: Raw) -> str:
    found = answer.header("x-request-id")
    assert found is not None, answer
    return found


@pytest.fixture
def broken(admin: Any) -> Iterator[None]:
    """Plant a ledger that is none: to read it is an error that nobody expects."""
    admin.set("machpay:ledger:alice:2020-01-01", "no hash")
    yield
    admin.delete("machpay:ledger:alice:2020-01-01")


def test_every_answer_of_an_edge_has_one_of_its_own(guarded: System, broken: None) -> None:
    seen = set()
    for status, message in ANSWERS:
        answer = send(guarded.port, message)
        assert answer.status == status, (message, answer)
        assert MADE.fullmatch(id_of(answer)), message
        seen.add(id_of(answer))
    assert len(seen) == len(ANSWERS)


@pytest.mark.parametrize(
    "given",
    [
        *("", "a b", "a" * 65, "\xe4", "a,b", "a;b", "a%0d%0aX: 1", '"a"', "a\x7f", "<a>", "a/b"),
        "a\tb",
    ],
    ids=repr,
)
def test_what_is_no_id_is_not_taken_over(guarded: System, given: str) -> None:
    answer = send(guarded.port, request("GET", "/healthz", b"", f"X-Request-Id: {given}"))
    if answer.status == 200:
        assert MADE.fullmatch(id_of(answer))
    else:  # no HTTP at all, and so no request
        assert (answer.status, given) == (400, "a\x7f")


def test_a_well_formed_one_is_kept_and_one_of_two_is_not(guarded: System) -> None:
    one, other = "X-Request-Id: A.b_c-9", "x-request-id: other"
    assert id_of(send(guarded.port, request("GET", "/nope", b"", one))) == "A.b_c-9"
    longest = "x" * 64
    answer = send(guarded.port, request("GET", "/healthz", b"", f"x-ReQuEsT-iD: {longest}"))
    assert id_of(answer) == longest
    assert MADE.fullmatch(id_of(send(guarded.port, request("GET", "/healthz", b"", one, other))))


def test_requests_of_one_connection_have_one_each(guarded: System) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=20) as connection:
        seen = []
        for more in ([], ["X-Request-Id: mine"], []):
            connection.sendall(request("GET", "/healthz", b"", *more))
            seen.append(id_of(read_raw(connection)))
    assert seen[1] == "mine"
    assert len(set(seen)) == 3


def test_the_log_has_a_failure_under_its_id(guarded: System, broken: None) -> None:
    message = request("GET", BROKEN, b"", BEARER, "X-Request-Id: find-me")
    answer = raw(guarded.port, message)
    assert (answer.status, b"WRONGTYPE" in answer.body) == (500, False)
    # It is closed behind it: who is not told sends the next request into that.
    assert answer.header("connection") == "close"
    log = guarded.children["edge.1"].log
    line = re.compile(r"ERROR +uvicorn\.error: \[find-me\] Exception in ASGI application")
    wait_until(lambda: line.search(log.read_text()), "the failure is logged under its id")


def test_one_id_finds_a_failure_at_the_edge_and_at_the_worker(
    guarded: System, broken: None
) -> None:
    raw(guarded.port, request("GET", BROKEN, b"", BEARER, "X-Request-Id: both-1"))
    started = request("POST", "/v1/skills/fails/stream", b"{}", BEARER, "X-Request-Id: both-1")
    assert check(raw(guarded.port, started).body)[-1].event == "error"
    for process, said in (("edge.1", "uvicorn.error"), ("worker.1", "machpay")):
        line = re.compile(rf"^\S+ ERROR +{said}\S*: \[both-1\] ", re.MULTILINE)
        log = guarded.children[process].log
        wait_until(lambda: line.search(log.read_text()), f"{process} says it")  # noqa: B023 - at once


def test_pages_may_read_it(guarded: System) -> None:
    """Where pages may call at all: see the test of CORS in ``tests/system``."""
    from machpay.serve.cors import EXPOSE_HEADERS

    assert "x-request-id" in EXPOSE_HEADERS


def test_a_skill_server_has_them_and_its_handlers_log_under_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    skill = Skill(id="logs")

    @skill.stream_handler
    async def log(input: SkillInput) -> str:
        logging.getLogger("an author").warning("a line of %s", input.execution_id)
        return "x"

    async def fail(request: Request) -> Response:
        raise RuntimeError("nobody expected this")

    app = create_app([skill])
    app.routes.append(Route("/fail", fail))
    with serving(app) as served:
        caplog.handler.addFilter(WithRequestId())
        started = request("POST", "/v1/skills/logs/stream", b"{}", "X-Request-Id: starts")
        answer = served.raw(started)
        assert (id_of(answer), check(answer.body)[-1].event) == ("starts", "end")
        answer = served.raw(request("GET", "/fail", b"", "X-Request-Id: fails"))
        assert (id_of(answer), answer.status) == ("fails", 500)
        for message in (request("GET", "/nope"), request("OPTIONS", "/v1/skills")):
            assert MADE.fullmatch(id_of(served.raw(message)))
        wait_until(lambda: "Exception in ASGI" in caplog.text, "the failure is logged")
    tagged = {record.getMessage()[:9]: getattr(record, "request", "") for record in caplog.records}
    assert tagged["a line of"] == "[starts] "
    assert tagged["Exception"] == "[fails] "

"""Streams over real sockets: their bytes, and going on with them."""

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machpay._position import Cursor, Position
from machpay.serve.drain import Drain
from machpay.serve.server import create_app
from machpay.serve.streams import Streams
from tests.skill_server.serving import Raw, parse_raw, request, serving
from tests.skill_server.sides import Serve, Server
from tests.skill_server.skills import Gates
from tests.waiting import wait_until
from tests.wire import WireEvent, check, check_prefix, check_retry_only


def start(served: Server, skill: str, *headers: str, path: str = "stream", **input: Any) -> Raw:
    body = json.dumps({"input": input}).encode()
    return served.raw(request("POST", f"/v1/skills/{skill}/{path}", body, *headers))


def resume(served: Server, cursor: str, *headers: str) -> Raw:
    execution_id = cursor.partition(".")[0]
    path = f"/v1/executions/{execution_id}/stream"
    return served.raw(request("GET", path, b"", f"Last-Event-ID: {cursor}", *headers))


def without_retry(body: bytes) -> bytes:
    assert body.startswith(b"retry: ")
    return body.partition(b"\n")[2]


def test_the_bytes_of_a_stream(served: Server) -> None:
    answer = start(served, "echo", texts=["Once ", "upon"])
    assert answer.status == 200
    assert answer.complete
    varying = ("date", "x-request-id")
    assert {name: value for name, value in answer.headers if name not in varying} == {
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-content-type-options": "nosniff",
        "content-type": "text/event-stream; charset=utf-8",
        "transfer-encoding": "chunked",
    }
    events = check(answer.body)
    execution_id = events[0].data["executionId"]
    assert [event.event for event in events] == ["start", "chunk", "chunk", "end"]
    assert [event.id for event in events] == [
        f"{execution_id}.{position}" for position in ("0-1", "1-3", "1-4", "1-5")
    ]
    assert events[0].data == {"executionId": execution_id, "skillId": "echo"}
    assert [event.data["text"] for event in events[1:3]] == ["Once ", "upon"]
    assert [event.data["index"] for event in events[1:3]] == [0, 1]
    assert abs(events[1].data["timestamp"] - time.time() * 1000) < 60_000
    assert events[3].data.keys() == {"tokensUsed", "costUsd", "durationMs"}
    assert events[3].data["tokensUsed"] == 7
    assert b'"costUsd":0.00114,' in answer.body
    assert events[0].retry is not None
    assert 200 <= events[0].retry <= 1000


def test_an_execution_without_a_chunk(served: Server) -> None:
    events = check(start(served, "echo").body)
    assert [event.event for event in events] == ["start", "end"]


@pytest.mark.parametrize(
    ("own", "payload"),
    [
        (True, {"code": "out_of_ink", "message": "No ink.", "retryable": True}),
        (False, {"code": "skill_error", "message": "The skill failed."}),
    ],
)
def test_a_failed_execution_ends_with_an_error(
    served: Server, own: bool, payload: dict[str, Any]
) -> None:
    answer = start(served, "failing", own=own)
    events = check(answer.body)
    assert [event.event for event in events] == ["start", "chunk", "error"]
    assert events[-1].data == payload
    assert b"secret" not in answer.body


NASTY = st.text() | st.sampled_from(
    [
        "\r",
        "\n",
        "\r\n",
        "\0",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "id: x\n\n",
        ": ",
        "\n\nevent: end",
    ]
)


@given(texts=st.lists(NASTY, max_size=5), data=st.none() | NASTY | st.dictionaries(NASTY, NASTY))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_yield_stays_one_event_whatever_is_in_it(
    served: Server, texts: list[str], data: Any
) -> None:
    events = check(start(served, "echo", texts=texts, data=data).body)
    chunks = [event.data for event in events[1:-1]]
    assert [chunk["text"] for chunk in chunks] == [*texts, ""]
    assert chunks[-1].get("data") == data


def read_until(connection: socket.socket, count: int) -> tuple[Raw, list[WireEvent]]:
    """Read until so many events are there."""
    received = b""
    while True:
        received += connection.recv(65536)
        answer = parse_raw(received)
        if answer is not None and len(events := check_prefix(answer.body)) >= count:
            return answer, events


def test_headers_and_start_and_chunks_come_at_once(served: Server, gates: Gates) -> None:
    body = b'{"input":{"gate":"g"}}'
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request("POST", "/v1/skills/gated/stream", body))
        answer, events = read_until(connection, 2)
        assert answer.status == 200
        assert [event.event for event in events] == ["start", "chunk"]
        assert gates.finished == 0
        gates.gate("g").set()


def test_an_execution_goes_on_without_its_client(served: Server, gates: Gates) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request("POST", "/v1/skills/gated/stream", b'{"input":{"gate":"g"}}'))
        _, seen = read_until(connection, 2)
    gates.gate("g").set()
    events = check(resume(served, seen[-1].id).body)
    assert [event.data.get("text") for event in events] == ["after", None]
    assert gates.runs == 1


def test_resuming_after_each_event_gives_exactly_the_rest(served: Server, gates: Gates) -> None:
    whole = start(served, "echo", texts=["a", "b", "c", "d"]).body
    events = check(whole)
    for position, event in enumerate(events[:-1]):
        rest = b"".join(later.raw for later in events[position + 1 :])
        assert without_retry(resume(served, event.id).body) == rest
        post = start(served, "echo", f"Last-Event-ID: {event.id}", texts=["other"])
        assert without_retry(post.body) == rest
    assert gates.runs == 1


def test_reading_from_the_start_without_a_cursor(served: Server) -> None:
    whole = start(served, "echo", texts=["a"]).body
    execution_id = check(whole)[0].data["executionId"]
    again = served.raw(request("GET", f"/v1/executions/{execution_id}/stream"))
    assert without_retry(again.body) == without_retry(whole)


def test_the_position_of_the_claim_which_nobody_sees_is_a_place_to_resume_from(
    served: Server,
) -> None:
    events = check(start(served, "echo", texts=["a"]).body)
    execution_id = events[0].data["executionId"]
    again = check(resume(served, f"{execution_id}.1-2").body)
    assert [event.id for event in again] == [event.id for event in events[1:]]


def test_a_position_before_the_claim_skips_nothing(served: Server) -> None:
    events = check(start(served, "echo", texts=["a", "b"]).body)
    execution_id = events[0].data["executionId"]
    again = check(resume(served, f"{execution_id}.0-4").body)
    assert [event.id for event in again] == [event.id for event in events[1:]]


def test_the_query_resumes_too_and_the_header_beats_it(served: Server) -> None:
    events = check(start(served, "echo", texts=["a", "b"]).body)
    execution_id = events[0].data["executionId"]
    path = f"/v1/executions/{execution_id}/stream?last_event_id={events[0].id}"
    by_query = check(served.raw(request("GET", path)).body)
    assert [event.id for event in by_query] == [event.id for event in events[1:]]
    both = check(served.raw(request("GET", path, b"", f"Last-Event-ID: {events[2].id}")).body)
    assert [event.id for event in both] == [events[3].id]
    post = f"/v1/skills/echo/stream?last_event_id={events[2].id}"
    by_post = check(served.raw(request("POST", post, b'{"input":{}}')).body)
    assert [event.id for event in by_post] == [events[3].id]


def test_after_the_terminal_event_there_is_nothing(served: Server, gates: Gates) -> None:
    last = check(start(served, "echo").body)[-1].id
    answer = resume(served, last)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("content-type") is None
    answer = start(served, "echo", f"Last-Event-ID: {last}")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert gates.runs == 1


@pytest.mark.parametrize("position", ["1-6", "1-4000", "2-3", "999999999-5"])
def test_a_cursor_beyond_the_log_is_told_so_once(served: Server, position: str) -> None:
    execution_id = check(start(served, "echo", texts=["a", "b"]).body)[0].data["executionId"]
    answer = resume(served, f"{execution_id}.{position}")
    assert answer.status == 200
    [event] = check(answer.body)
    assert event.event == "error"
    assert event.data["code"] == "log_lost"
    told = Cursor.parse(event.id)
    attempt = Cursor.parse(f"{execution_id}.{position}").position.attempt
    assert told == (execution_id, Position(min(attempt + 1, 999_999_999), 0))
    assert event.retry is not None
    # An EventSource comes back with that id, and must come to rest.
    assert resume(served, event.id).status == 204
    again = start(served, "echo", f"Last-Event-ID: {event.id}")
    assert (again.status, again.body) == (200, b"")


def test_a_made_up_cursor_of_an_unknown_execution_is_refused(served: Server) -> None:
    """Also one that looks as if its reader had been told that the log is lost."""
    assert resume(served, "exec_" + "a" * 26 + ".2-0").status == 404


def test_heartbeats_in_silence(serve: Serve, gates: Gates) -> None:
    with (
        serve(heartbeat=0.02) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection,
    ):
        connection.sendall(request("POST", "/v1/skills/gated/stream", b'{"input":{"gate":"g"}}'))
        received = b""
        while received.count(b"\r\n:\n\r\n") < 3:
            received += connection.recv(65536)
        gates.gate("g").set()
        while b"event: end" not in received:
            received += connection.recv(65536)
        answer = parse_raw(received)
        assert answer is not None
        events = check(answer.body)
    assert [event.event for event in events] == ["start", "chunk", "chunk", "end"]
    assert b"\n\n:\n:\n" in answer.body


def test_a_drain_ends_streams_with_an_error_and_a_clean_end(served: Server) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request("POST", "/v1/skills/gated/stream", b'{"input":{"gate":"g"}}'))
        received = b""
        while b"before" not in received:
            received += connection.recv(65536)
        served.drain()
        while (answer := parse_raw(received)) is None or not answer.complete:
            received += connection.recv(65536)
    events = check(answer.body)
    assert events[-1].data["code"] == "worker_lost"
    assert events[-1].data["retryable"] is True


def test_while_draining_starts_are_refused_and_resumes_told_to_come_back(
    served: Server, gates: Gates
) -> None:
    first = check(start(served, "echo", texts=["a"]).body)[0].id
    served.drain()
    for path in ("stream", "executions"):
        refused = start(served, "echo", path=path)
        assert refused.status == 503
        assert refused.header("retry-after") == "1"
        assert json.loads(refused.body)["error"]["code"] == "draining"
    execution_id = first.partition(".")[0]
    answers = [
        resume(served, first),
        start(served, "echo", f"Last-Event-ID: {first}"),
        served.raw(request("GET", f"/v1/executions/{execution_id}/stream")),
        # Its page's EventSource would take any status for the end.
        served.raw(request("GET", "/api/stream?skill=echo", b"", "Accept: text/event-stream")),
    ]
    for answer in answers:
        assert answer.status == 200
        assert answer.header("content-type") == "text/event-stream; charset=utf-8"
        assert 1000 <= check_retry_only(answer.body) <= 3000
    assert gates.runs == 1
    assert served.http.get("/healthz").status_code == 200


def test_a_client_that_takes_nothing_is_cut(
    gates: Gates, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    app = create_app(gates.skills, drain=drain, streams=Streams(send_timeout=0.5))
    with serving(app, drain) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", served.port))
        body = b'{"input":{"chunks":100,"size":100000}}'
        connection.sendall(request("POST", "/v1/skills/large/stream", body))
        wait_until(lambda: "was cut" in caplog.text, "it is cut")
        received = b""
        while piece := connection.recv(1 << 20):
            received += piece
        answer = parse_raw(received)
        assert answer is not None
        assert not answer.complete
        # What it has is whole events and a torn one; the rest is there for it.
        seen = check_prefix(answer.body)
        rest = check(resume(served, seen[-1].id).body)
        assert len(seen) + len(rest) == 102
    assert caplog.text.count("was cut") == 1
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_a_long_log_is_replayed_whole(served: Server) -> None:
    chunks = 20_000
    events = check(start(served, "large", chunks=chunks, size=10).body)
    assert len(events) == chunks + 2
    again = check(resume(served, events[0].id).body)
    assert [event.id for event in again] == [event.id for event in events[1:]]


def test_head_opens_no_stream_and_starts_nothing(served: Server, gates: Gates) -> None:
    answer = served.raw(request("HEAD", "/v1/skills/echo/stream", b"", "Connection: close"))
    assert answer.status == 405
    assert answer.header("allow") == "POST"
    started = json.loads(start(served, "gated", gate="g", path="executions").body)
    head = served.raw(request("HEAD", started["stream_url"]))
    assert (head.status, head.body) == (200, b"")
    assert head.header("content-type") == "text/event-stream; charset=utf-8"
    assert gates.runs == 1

"""What becomes of requests when an edge fails: no start runs twice, and everybody gets an answer."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.proxies.conftest import NAMES, Fronts, client_of
from tests.proxies.shipped import Proxy
from tests.proxies.stub import StubEdge
from tests.waiting import wait_until
from tests.wire import check_retry_only

EVENTS = {"Accept": "text/event-stream"}
KEY = {"Idempotency-Key": "the-same"}
STARTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/api/stream", EVENTS),
    ("GET", "/api/stream", {}),
    ("POST", "/api/stream", {}),
    ("POST", "/v1/skills/any/stream", EVENTS),
    ("POST", "/v1/skills/any/executions", KEY),
]

Stubs = tuple[StubEdge, StubEdge]


@pytest.fixture(autouse=True)
def fresh(stubs: Stubs) -> None:
    for stub in stubs:
        stub.requests.clear()
        stub.headers.clear()
        stub.left.clear()


def asked(stubs: Stubs, target: str) -> list[str]:
    """List who was asked for something, whoever of the two."""
    return [request for stub in stubs for request in stub.requests if request.endswith(target)]


def check_answer(answer: httpx.Response, method: str, headers: dict[str, str]) -> None:
    """Check what a client is told when no edge has answered."""
    if method == "GET" and headers == EVENTS:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert 1000 <= check_retry_only(answer.content) <= 3000
    else:
        assert answer.status_code in (502, 503, 504)
        assert answer.json()["error"]["code"] == "unavailable"
        assert int(answer.headers["retry-after"]) > 0


def wait_for_both(client: httpx.Client, stubs: Stubs) -> None:
    """Wait until a proxy sends something to either edge again."""
    for stub in stubs:

        def served(stub: StubEdge = stub) -> bool:
            before = len(stub.requests)
            client.get("/v1/skills")
            return len(stub.requests) > before

        wait_until(served, "the proxy sends something to each edge")


@pytest.mark.parametrize(("method", "path", "headers"), STARTS)
def test_a_start_whose_edge_hangs_up_is_not_sent_again(
    stub_front: Proxy, stubs: Stubs, method: str, path: str, headers: dict[str, str]
) -> None:
    with client_of(stub_front) as client:
        # So it is not the first on its connection: then some think that an edge had closed it before.
        wait_for_both(client, stubs)
        answer = client.request(method, f"{path}?do=die", headers=headers)
    assert asked(stubs, "do=die") == [f"{method} {path}?do=die"]
    check_answer(answer, method, headers)


def test_neither_is_one_whose_edge_never_answers(stub_fronts: Fronts, stubs: Stubs) -> None:
    """All at once, since each takes a time-out."""

    def ask(front: Proxy, method: str, path: str, headers: dict[str, str]) -> None:
        target = f"{path}?do=hang&by={front.name}-{method}-{len(headers)}"
        with client_of(front) as client:
            answer = client.request(method, target, headers=headers)
        assert asked(stubs, target) == [f"{method} {target}"]
        check_answer(answer, method, headers)

    def watch(front: Proxy) -> None:
        target = f"/v1/executions/any/stream?do=silent&by={front.name}"
        with (
            client_of(front) as client,
            pytest.raises(httpx.RemoteProtocolError, match="closed connection"),
        ):
            client.get(target, headers=EVENTS)

    fronts = [stub_fronts(name) for name in NAMES]
    with ThreadPoolExecutor(32) as pool:
        for done in [
            *(pool.submit(ask, front, *start) for front in fronts for start in STARTS),
            # What makes heartbeats necessary; Caddy lets a stream be silent for ever.
            *(pool.submit(watch, front) for front in fronts if front.name != "caddy"),
        ]:
            done.result()


def test_an_edge_that_is_down_is_made_up_for_by_the_other(stub_front: Proxy, stubs: Stubs) -> None:
    with client_of(stub_front) as client:
        wait_for_both(client, stubs)
        stubs[0].stop()
        try:
            for number in range(4):
                assert client.post(f"/v1/skills/any/executions?n={number}").status_code == 200
                assert client.get(f"/v1/skills?n={number}").status_code == 200
                resumed = client.get(
                    f"/api/stream?n={number}", headers={**EVENTS, "Last-Event-ID": "x.1-1"}
                )
                assert resumed.json() == {}
            assert len(stubs[1].requests) >= 12
        finally:
            stubs[0].start()
        wait_for_both(client, stubs)


def test_without_an_edge_a_page_is_told_to_come_back(stub_front: Proxy, stubs: Stubs) -> None:
    with client_of(stub_front) as client:
        wait_for_both(client, stubs)
        for stub in stubs:
            stub.stop()
        try:
            for method, path, headers in [
                *STARTS,
                ("GET", "/v1/executions/any/stream", EVENTS),
                ("GET", "/v1/skills", {}),
            ]:
                check_answer(client.request(method, path, headers=headers), method, headers)
        finally:
            for stub in stubs:
                stub.start()
        wait_for_both(client, stubs)


def test_what_an_edge_says_itself_reaches_programs_and_spares_pages(
    stub_front: Proxy, stubs: Stubs
) -> None:
    with client_of(stub_front) as client:
        refused = client.get("/v1/skills?do=busy")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        page = client.get("/api/stream?do=busy", headers=EVENTS)
        check_answer(page, "GET", EVENTS)
    assert len(asked(stubs, "/api/stream?do=busy")) == 1


@pytest.mark.parametrize("name", ["haproxy", "caddy"])
def test_an_edge_that_is_not_ready_gets_nothing_new(
    name: str, stub_fronts: Fronts, stubs: Stubs
) -> None:
    with client_of(stub_fronts(name)) as client:
        wait_for_both(client, stubs)
        stubs[0].ready = False
        try:

            def spared() -> bool:
                before = len(stubs[0].requests)
                for _ in range(6):
                    client.post("/v1/skills/any/executions")
                return len(stubs[0].requests) == before

            wait_until(spared, "everything goes to the edge that is ready")
        finally:
            stubs[0].ready = True
        wait_for_both(client, stubs)


def test_an_edge_learns_that_a_reader_has_left(stub_front: Proxy, stubs: Stubs) -> None:
    with client_of(stub_front) as client, client.stream("GET", "/v1/silent") as answer:
        assert answer.status_code == 200
    # Sooner than by any time-out; there is nothing to be written that would fail.
    wait_until(lambda: stubs[0].left or stubs[1].left, "an edge learns of it", timeout=2)


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_body_that_is_cut_does_not_look_complete(name: str, stub_fronts: Fronts) -> None:
    """Bare text has no other end. Caddy 2.6 ends it cleanly: docs/proxies.md."""
    with client_of(stub_fronts(name)) as client, pytest.raises(httpx.RemoteProtocolError):
        client.post("/api/stream?do=torn")


def test_a_body_that_is_too_large_is_refused_as_an_edge_would(
    stub_front: Proxy, stubs: Stubs
) -> None:
    with client_of(stub_front) as client:
        answer = client.post("/api/stream", content=b" " * (1 << 20) + b" ")
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert client.post("/api/stream", content=b" " * (1 << 20)).status_code == 200
    assert len(asked(stubs, "/api/stream")) == 1


def test_edges_are_told_who_asks_and_not_what_a_client_claims(
    stub_front: Proxy, stubs: Stubs
) -> None:
    claims = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "x"}
    with client_of(stub_front) as client:
        client.get("/v1/skills", headers=claims)
    (told,) = [headers for stub in stubs for headers in stub.headers]
    host = f"localhost:{stub_front.port}"
    assert told["host"] == host
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert told["x-forwarded-proto"] == "https"
    assert told["x-forwarded-host"] == host


def test_no_log_has_a_query_or_a_secret(stub_front: Proxy, stubs: Stubs) -> None:
    """Not of a request that fails either: that is where proxies quote it."""
    query = "prompt=CANARY&token=CANARY"
    secret = {"Authorization": "Bearer CANARY", "Referer": "https://page/?CANARY", **EVENTS}
    with client_of(stub_front) as client:
        for how in ("", "die", "busy"):
            for method in ("GET", "POST"):
                client.request(method, f"/api/stream?do={how}&{query}", headers=secret)
        client.post(f"/api/stream?{query}", content=b" " * (2 << 20), headers=secret)
        with client.stream("GET", f"/v1/executions/left/stream?do=silent&{query}"):
            pass
        for stub in stubs:
            stub.stop()
        client.get(f"/api/stream?{query}", headers=secret)
        client.post(f"/v1/skills/last/executions?{query}", headers=secret)
        for stub in stubs:
            stub.start()
        say_nonsense(stub_front, f"GET /api/stream?{query} NONSENSE\r\n\r\n")
        wait_until(lambda: "/v1/skills/last/executions" in stub_front.logs(), "it is logged")
        assert "CANARY" not in stub_front.logs()
        wait_for_both(client, stubs)


def say_nonsense(front: Proxy, request: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", front.port), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(request.encode())
        while connection.recv(1 << 16):
            pass

"""Edges that stop or rotate their streams: clients go on, and notice a pause at most."""

import itertools
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from machpay import AsyncMachPay, MachPay
from ops.system import System
from tests.skill_server.serving import read_raw, request
from tests.system.conftest import SETTINGS
from tests.system.streaming import Stream, numbers, stuck_reader, texts
from tests.waiting import wait_until
from tests.wire import check, check_retry_only

A_DAY = "86400"


@contextmanager
def running(edges: int = 1, **settings: str) -> Iterator[System]:
    with System(
        processes={"edge": edges, "worker": 1}, settings={**SETTINGS, **settings}
    ) as system:
        yield system


def wait_for_drain(url: str) -> None:
    def draining() -> bool:
        answer = httpx.get(f"{url}/readyz", trust_env=False)
        return answer.status_code == 503 and answer.json()["error"]["code"] == "draining"

    wait_until(draining, "/readyz says that it drains")


def wait_for_end(system: System, name: str, number: int = signal.SIGTERM) -> str:
    """Wait until a process ended by itself; returns its log."""
    child = system.children[name]
    wait_until(lambda: child.returncode is not None, f"{name} ends")
    log = child.log.read_text()
    assert child.returncode in (0, -number), log
    assert "ERROR" not in log
    assert "Traceback" not in log
    return log


def start(url: str, **data: object) -> Stream:
    return Stream(url, "/v1/skills/count/stream", body={"input": data})


def test_a_drain_ends_streams_on_a_boundary_and_clients_go_on_at_another_edge() -> None:
    with (
        running(edges=2, MACHPAY_DRAIN_WINDOW="2") as system,
        httpx.Client(timeout=30, trust_env=False) as other,
    ):
        first, second = system.url_of("edge.1"), system.url_of("edge.2")
        streams = [start(first, n=250, pause=0.02) for _ in range(12)]
        for stream in streams:
            stream.wait_for_chunks(3)
        os.kill(system.children["edge.1"].pid, signal.SIGTERM)
        wait_for_drain(first)

        # The listener is open: who comes back is told to, who comes anew is refused.
        execution_id, cursor = streams[0].events[0].data["executionId"], streams[0].events[1].id
        resumes = [
            ("GET", f"/v1/executions/{execution_id}/stream"),
            ("POST", "/v1/skills/count/stream"),
        ]
        for method, path in resumes:
            answer = httpx.request(
                method, first + path, headers={"Last-Event-ID": cursor}, trust_env=False
            )
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["connection"] == "close"
            assert check_retry_only(answer.content) > 0
        for path in ("/v1/skills/count/stream", "/v1/skills/count/executions"):
            answer = httpx.post(first + path, json={}, trust_env=False)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["connection"] == "close"

        for stream in streams:
            # No failure: httpx raises when the last chunk of a body is missing.
            assert stream.wait().failure is None
            seen = check(stream.received, complete=False)
            rest = other.get(
                f"{second}/v1/executions/{seen[0].data['executionId']}/stream",
                headers={"Last-Event-ID": seen[-1].id},
            )
            assert texts(seen) + texts(check(rest.content)) == numbers(250)
        wait_for_end(system, "edge.1")


class Alternating(httpx.HTTPTransport):
    """A balancer: one server after the other, whether it is there or not."""

    def __init__(self, *urls: str) -> None:
        super().__init__()
        self._urls = itertools.cycle(map(httpx.URL, urls))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = next(self._urls)
        request.url = request.url.copy_with(host=url.host, port=url.port)
        return super().handle_request(request)


def test_a_client_behind_a_balancer_notices_no_deploy() -> None:
    with running(edges=2, MACHPAY_DRAIN_WINDOW="1") as system:
        urls = system.url_of("edge.1"), system.url_of("edge.2")
        with MachPay(base_url=system.url, transport=Alternating(*urls)) as client:
            stream = client.skills.stream("count", {"n": 150, "pause": 0.02})
            chunks = iter(stream)
            seen = [next(chunks).text for _ in range(3)]
            os.kill(system.children["edge.1"].pid, signal.SIGTERM)
            seen += [chunk.text for chunk in chunks]
        assert seen == numbers(150)
        assert stream.summary is not None
        assert stream.resumes >= 1
        wait_for_end(system, "edge.1")


def test_a_reader_that_takes_nothing_does_not_keep_the_process() -> None:
    with running(MACHPAY_DRAIN_WINDOW="0.5") as system, ExitStack() as readers:
        body = {"input": {"n": 200, "size": 100_000}}
        with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http:
            whole = check(http.post("/v1/skills/bulky/stream", json=body).content)
        path = f"/v1/executions/{whole[0].data['executionId']}/stream"
        for _ in range(3):
            readers.enter_context(stuck_reader(system.port, path))
        live = start(system.url, n=1000, pause=0.02)
        live.wait_for_chunks(3)
        os.kill(system.children["edge.1"].pid, signal.SIGTERM)
        assert live.wait().failure is None
        check(live.received, complete=False)
        log = wait_for_end(system, "edge.1")
        # uvicorn found nothing to wait for.
        assert "3 streams were not over in time and were cut" in log


@contextmanager
def hung_redis(system: System) -> Iterator[None]:
    assert system.valkey is not None
    pid = system.valkey.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_nothing_keeps_the_process_for_more_than_a_second_beyond_its_window() -> None:
    """Neither readers that take nothing, nor a body that never ends, nor a Redis that hangs."""
    with running(MACHPAY_DRAIN_WINDOW="2") as system, ExitStack() as clients:
        body = {"input": {"n": 150, "size": 100_000}}
        with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as http:
            whole = check(http.post("/v1/skills/bulky/stream", json=body).content)
        path = f"/v1/executions/{whole[0].data['executionId']}"
        clients.enter_context(stuck_reader(system.port, f"{path}/stream"))
        snapshot = clients.enter_context(stuck_reader(system.port, path))
        assert snapshot.recv(12) == b"HTTP/1.1 200"
        slow = clients.enter_context(socket.create_connection(("127.0.0.1", system.port), 20))
        slow.sendall(request("POST", "/v1/skills/count/executions", b"{}")[:-1])
        with hung_redis(system):
            starting = clients.enter_context(
                socket.create_connection(("127.0.0.1", system.port), 20)
            )
            starting.sendall(request("POST", "/v1/skills/count/executions", b"{}"))
            resuming = clients.enter_context(
                socket.create_connection(("127.0.0.1", system.port), 20)
            )
            resuming.sendall(request("GET", f"{path}/stream", b"", f"Last-Event-ID: {whole[0].id}"))
            edge = system.children["edge.1"]
            os.kill(edge.pid, signal.SIGTERM)
            told = time.monotonic()
            wait_until(lambda: edge.returncode is not None, "the edge ends")
            assert time.monotonic() - told < 3.0  # what deploy/.env.example promises
        answer = read_raw(resuming)
        assert (answer.status, answer.header("connection")) == (200, "close")
        check_retry_only(answer.body)
        for unserved in (slow, starting):
            refused = read_raw(unserved)
            assert refused.status == 503
            assert b'"draining"' in refused.body
        wait_for_end(system, "edge.1")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_second_signal_stops_at_once(second: signal.Signals) -> None:
    with running(MACHPAY_DRAIN_WINDOW="3600", MACHPAY_MAX_CONNECTION_AGE=A_DAY) as system:
        streams = [start(system.url, n=100_000, pause=0.02) for _ in range(3)]
        for stream in streams:
            stream.wait_for_chunks(3)
        edge = system.children["edge.1"]
        os.kill(edge.pid, signal.SIGTERM)
        wait_for_drain(system.url)
        assert edge.returncode is None
        os.kill(edge.pid, second)
        for stream in streams:
            assert stream.wait().failure is None
            check(stream.received, complete=False)
        wait_for_end(system, "edge.1", second)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_without_a_stream_an_edge_stops_at_once(number: signal.Signals) -> None:
    with running(MACHPAY_DRAIN_WINDOW="3600") as system, httpx.Client(trust_env=False) as idle:
        assert idle.get(f"{system.url}/readyz").is_success
        os.kill(system.children["edge.1"].pid, number)
        wait_for_end(system, "edge.1", number)


def test_an_edge_stops_when_its_last_stream_has_ended() -> None:
    with running(MACHPAY_DRAIN_WINDOW="3600", MACHPAY_MAX_CONNECTION_AGE=A_DAY) as system:
        stream = start(system.url, n=50, pause=0.02)
        stream.wait_for_chunks(3)
        os.kill(system.children["edge.1"].pid, signal.SIGTERM)
        assert texts(check(stream.wait().received)) == numbers(50)
        wait_for_end(system, "edge.1")


# -- rotation


@pytest.fixture(scope="module")
def rotating() -> Iterator[System]:
    """An edge whose streams go after a second."""
    with running(MACHPAY_MAX_CONNECTION_AGE="1") as system:
        yield system


def test_the_sdk_reads_through_rotations_without_loss(rotating: System) -> None:
    with MachPay(base_url=rotating.url) as client:
        stream = client.skills.stream("count", {"n": 250, "pause": 0.02})
        assert [chunk.text for chunk in stream] == numbers(250)
    assert stream.summary is not None
    assert stream.resumes >= 2


async def test_the_async_sdk_does_too(rotating: System) -> None:
    async with AsyncMachPay(base_url=rotating.url) as client:
        stream = client.skills.stream("count", {"n": 250, "pause": 0.02})
        assert [chunk.text async for chunk in stream] == numbers(250)
    assert stream.resumes >= 2


def test_a_rotated_stream_ends_on_a_boundary(rotating: System) -> None:
    received: list[str] = []
    stream = start(rotating.url, n=150, pause=0.02)
    rotations = 0
    while True:
        assert stream.wait().failure is None
        if b"event: end" in stream.received:
            break
        rotations += 1
        seen = check(stream.received, complete=False)
        received += texts(seen)
        execution_id, cursor = seen[-1].id.split(".")[0], seen[-1].id
        stream = Stream(rotating.url, f"/v1/executions/{execution_id}/stream", cursor=cursor)
    assert received + texts(check(stream.received)) == numbers(150)
    assert rotations >= 2


def test_an_idle_stream_rotates_too(rotating: System) -> None:
    """Its skill sleeps for longer than the test may take, and so does the heartbeat."""
    stream = start(rotating.url, n=1, stuck=100_000)
    assert stream.wait().failure is None
    (begun,) = check(stream.received, complete=False)
    assert begun.event == "start"
    assert b"\n:\n" not in stream.received
    execution_id = begun.data["executionId"]
    again = Stream(rotating.url, f"/v1/executions/{execution_id}/stream", cursor=begun.id).wait()
    assert again.failure is None
    assert check_retry_only(again.received) > 0
    httpx.post(f"{rotating.url}/v1/executions/{execution_id}/cancel", trust_env=False)

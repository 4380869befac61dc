"""Streams of real edges through the proxies, to programs."""

import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ops.ports import LOOPBACK
from ops.system import System
from tests.proxies.conftest import NAMES, Fronts, client_of
from tests.proxies.shipped import PROXY_TIMEOUT, Change, HAProxy, Proxy
from tests.proxies.stub import StubEdge
from tests.wire import check

HEARTBEATS = PROXY_TIMEOUT + 2
"""A second apart: a stream that has had so many was silent for longer than its proxy allows."""


def test_a_silent_stream_outlives_the_proxys_time_out(fronts: Fronts, tmp_path: Path) -> None:
    with ExitStack() as stack:
        streams = []
        for name in NAMES:
            client = stack.enter_context(client_of(fronts(name)))
            body = {"input": {"folder": str(tmp_path), "n": 1}}
            answer = stack.enter_context(client.stream("POST", "/v1/skills/step/stream", json=body))
            assert answer.headers["content-type"].startswith("text/event-stream")
            streams.append((answer.iter_raw(), bytearray()))
        for pieces, received in streams:
            while bytes(received).splitlines().count(b":") < HEARTBEATS:
                received.extend(next(pieces))
        (tmp_path / "0").touch()
        for pieces, received in streams:
            events = check(bytes(received) + b"".join(pieces))
            assert [event.event for event in events] == ["start", "chunk", "end"]


PLAIN = [Change("bind :443 ssl crt /etc/machpay/tls/machpay.pem alpn h2,http/1.1", "bind :443 ")]


class PlainHAProxy(HAProxy):
    """Without TLS, in which it delays little: what it would do to chunks shows."""

    certificates = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"


@pytest.mark.parametrize("name", ["nginx", "plain haproxy", "caddy"])
def test_a_chunk_overtakes_what_is_asked_after_it(
    name: str, stub_fronts: Fronts, stubs: tuple[StubEdge, StubEdge]
) -> None:
    """Judged by pings on another connection, not by a clock: a busy machine slows both."""
    with ExitStack() as stack:
        if name == "plain haproxy":
            ports = stubs[0].port, stubs[1].port
            front: Proxy = stack.enter_context(PlainHAProxy(ports, PLAIN))
        else:
            front = stub_fronts(name)
        reader = stack.enter_context(connect(front))
        reader.sendall(b"GET /v1/told HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = reader.recv(1 << 16)
        assert head.startswith(b"HTTP/1.1 200"), head
        pings = stack.enter_context(client_of(front))
        pings.get("/v1/ping")
        reader.setblocking(False)
        for number in range(8):
            chunk = b"chunk %d\n\n" % number
            for stub in stubs:
                stub.tell(chunk)
            received = b""
            for _ in range(10):
                pings.get("/v1/ping")
                with suppress(ssl.SSLWantReadError, BlockingIOError):
                    received += reader.recv(1 << 16)
                if chunk in received:
                    break
            else:
                raise AssertionError(f"ten pings have overtaken {chunk!r}")


def connect(front: Proxy) -> socket.socket:
    plain = socket.create_connection((LOOPBACK, front.port), 20)
    if front.url.startswith("http:"):
        return plain
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname="localhost")


def test_edges_log_no_query(front: Proxy, system: System, tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    with client_of(front) as client:
        query = {"folder": str(tmp_path), "n": "1", "prompt": "CANARY"}
        assert client.get("/api/stream", params={**query, "token": "CANARY"}).status_code == 401
        events = check(client.get("/api/stream", params=query).content, unnamed=True)
        assert events[-1].event == "end"
    for number in (1, 2):
        log = system.children[f"edge.{number}"].log.read_text()
        assert "CANARY" not in log
    assert "CANARY" not in front.logs()

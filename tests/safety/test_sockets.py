"""Requests that no client library would send, over raw sockets: each means one thing, or nothing.

Beside them, those of ``tests/skill_server/test_requests.py``: bodies that are too large, too slow, too deep or no
JSON, malformed cursors, and paths and methods that there are not.
"""

import re
import socket
from typing import Any, Final

import httpx
import pytest

from ops.system import System
from tests.safety.conftest import KEY, OTHER
from tests.skill_server.serving import Raw, raw, request

BEARER: Final = f"Authorization: Bearer {KEY}"
HEAD: Final = f"POST /v1/skills/echo/executions HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n"
HIDDEN: Final = "GET /hidden HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKED: Final = "Transfer-Encoding: chunked\r\n\r\n"

TWO_LENGTHS: Final = {
    "both, the length first": "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, chunked first": "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}",
    "a list of lengths": "Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": "Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": "Content-Length: 0x2\r\n\r\n{}",
    "a length over 64 bits": "Content-Length: 99999999999999999999999\r\n\r\n{}",
    "another coding": "Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a coding behind chunked": "Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked twice": f"Transfer-Encoding: chunked\r\n{CHUNKED}2\r\n{{}}\r\n0\r\n\r\n",
    "a blank before the colon": "Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a control character": "Transfer-Encoding: \x0bchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a folded coding": "Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a folded header": "X: a\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\n{}",
    "lines that end in CR": "X: a\rContent-Length: 2\r\n\r\n",
    "lines that end in LF": "Content-Length: 2\n\n{}",
    "a chunk's size with a sign": f"{CHUNKED}-2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk's size with 0x": f"{CHUNKED}0x2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk's size over 64 bits": f"{CHUNKED}ffffffffffffffffff\r\n{{}}\r\n0\r\n\r\n",
    "a chunk longer than it says": f"{CHUNKED}2\r\n{{}}XX0\r\n\r\n",
    "a line end in an extension": f'{CHUNKED}2;x="\n"\r\n{{}}\r\n0\r\n\r\n',
}


def talk(system: System, message: str) -> bytes:
    """Send bytes, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", system.port), timeout=20) as connection:
        connection.sendall(message.encode("latin-1"))
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass  # it had more to say than was read: what was answered is there all the same
        return received


def started(admin: Any) -> int:
    return sum(1 for _ in admin.scan_iter("machpay:{*}:log", count=1000))


def send(system: System, method: str, path: str, *headers: str) -> Raw:
    return raw(system.port, request(method, path, b"", "Connection: close", *headers))


@pytest.fixture
def untouched(admin: Any) -> Any:
    """Nothing is started by what a test sends."""
    before = started(admin)
    yield
    assert started(admin) == before


@pytest.mark.usefixtures("untouched")
def test_a_body_of_two_lengths_is_none_and_hides_no_request(guarded: System) -> None:
    for name, rest in TWO_LENGTHS.items():
        answer = talk(guarded, HEAD + rest + HIDDEN)
        assert re.findall(rb"HTTP/1\.[01] (\d+)", answer) == [b"400"], (name, answer)


@pytest.mark.usefixtures("untouched")
def test_a_request_of_two_hosts_or_owners_is_none(guarded: System) -> None:
    key, other = BEARER, f"Authorization: Bearer {OTHER}"
    head = "GET /v1/skills HTTP/1.1\r\nConnection: close\r\n"
    for headers in (
        [key], ["Host: a", "Host: b", key], ["Host: a", key, other], ["Host: a", key, key],
    ):  # fmt: skip
        answer = talk(guarded, head + "\r\n".join(headers) + "\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400"), (headers, answer)
        assert b"bad_request" in answer


@pytest.mark.usefixtures("untouched")
def test_no_spelling_of_a_path_gets_around_a_key(guarded: System) -> None:
    """A path that means another route is that route, key and all; any other is none."""
    for path in (
        "//v1/operations", "/v1//operations", "/v1/./operations", "/x/../v1/operations",
        "/v1/%2e%2e/v1/operations", "/V1/operations", "/v1/operations/", "/v1/operations;a=b",
        "/v1/operations%00", "/v1\\operations", "/v1/operations%20", "/pages/../v1/operations",
        "/pages/..%2f..%2fpyproject.toml", "/pages/%2e%2e/app.py", "/healthz/../v1/operations",
    ):  # fmt: skip
        for headers in ([], [BEARER]):
            assert send(guarded, "GET", path, *headers).status == 404, path
    for path in ("/v1/%6fperations", "/v1%2Foperations", "http://elsewhere/v1/operations"):
        assert send(guarded, "GET", path).status == 401, path
        assert send(guarded, "GET", path, BEARER).status == 403, path


@pytest.mark.usefixtures("untouched")
def test_no_header_makes_another_request_of_one(guarded: System) -> None:
    for header in (
        "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1",
        "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /healthz",
        "X-Original-URL: /healthz", "X-Rewrite-URL: /healthz", "X-HTTP-Method-Override: POST",
    ):  # fmt: skip
        assert send(guarded, "GET", "/v1/operations", header).status == 401, header
        assert send(guarded, "GET", "/v1/operations", header, BEARER).status == 403, header
        assert send(guarded, "GET", "/v1/skills/echo/stream", header, BEARER).status == 405, header


@pytest.mark.usefixtures("untouched")
def test_what_only_asks_starts_nothing(guarded: System) -> None:
    for method, path, status in (
        ("HEAD", "/api/stream?prompt=x", 200),
        ("HEAD", "/v1/skills", 200),
        ("HEAD", "/v1/skills/echo/stream", 405),
        ("GET", "/v1/skills/echo/executions", 405),
        ("OPTIONS", "/api/stream?prompt=x", 204),
        ("OPTIONS", "/v1/skills/echo/stream", 204),
        ("TRACE", "/v1/skills", 405),
        ("PATCH", "/v1/executions/x", 405),
    ):
        answer = send(guarded, method, path, BEARER)
        assert (answer.status, method != "HEAD" or answer.body == b"") == (status, True), path
    options = send(guarded, "OPTIONS", "/v1/executions/x")
    assert options.header("allow") == "GET, HEAD, OPTIONS, PUT"


def test_what_does_not_concern_us_is_passed_over(guarded: System, http: httpx.Client) -> None:
    """An old version, a range, an upgrade, a type that nobody has: the answer is the usual one."""
    usual = http.get("/v1/skills").content
    for headers in (
        ["Range: bytes=0-3"], ["Accept: text/html"], ["Accept: image/png"], ["Upgrade: h2c"],
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"], ["Expect: nothing"],
    ):  # fmt: skip
        answer = raw(guarded.port, request("GET", "/v1/skills", b"", BEARER, *headers))
        assert (answer.status, answer.body) == (200, usual), headers
    old = request("GET", "/v1/skills", b"", BEARER).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert raw(guarded.port, old).body == usual

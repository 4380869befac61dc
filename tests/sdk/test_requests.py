"""What requests look like and what answers mean."""

import httpx
import msgspec
import pytest

from machpay._answers import read_execution, read_started
from machpay._options import Options, options
from machpay._requests import (
    background_request,
    is_repeated,
    refusal,
    resume_request,
    start_request,
)
from machpay._results import Started, StreamToken
from machpay._tokens import token_request
from machpay.exceptions import StreamError

NOW = 1_700_000_000.0


def refused(status, body=b"", **headers):
    return refusal(status, {k.replace("_", "-"): v for k, v in headers.items()}, body, now=NOW)


@pytest.mark.parametrize("status", [429, 502, 503, 504, 520, 522, 524])
def test_what_is_temporary_is_repeated(status):
    assert refused(status).retryable
    assert refused(status).repeated


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 409, 422, 500, 501, 525])
def test_what_is_final_is_not(status):
    assert not refused(status).retryable
    assert not refused(status, retry_after="1").repeated


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("9" * 5000, 9999999999.0),
        ("Tue, 14 Nov 99999999999 22:13:30 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert refused(503, retry_after=value).retry_after == seconds


def test_a_retry_after_over_a_minute_is_left_to_the_caller():
    assert refused(503, retry_after="60").repeated
    assert not refused(503, retry_after="61").repeated
    assert refused(503, retry_after="61").retryable


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error":{"code":"busy","message":"Later."}}', "busy", "Later."),
        (b'{"error":{"code":"busy"}}', "busy", ""),
        (b'{"error":"busy"}', "http_503", '{"error":"busy"}'),
        (b'{"detail":"x"}', "http_503", '{"detail":"x"}'),
        (b"<html>\r\n  Bad\n gateway\n", "http_503", "<html> Bad gateway"),
        (b"", "http_503", "HTTP 503"),
        (b"\xff\xfe", "http_503", "\ufffd\ufffd"),
        (b'{"x":' + b"[" * 100_000, "http_503", '{"x":' + "[" * 195),
        (b'{"error":{"code":"\\ud83d"}}', "http_503", '{"error":{"code":"\\ud83d"}}'),
    ],
)
def test_an_error_body_of_any_kind(body, code, message):
    assert refused(503, body)[:3] == (503, code, message)


def test_an_unexpected_success_tells_its_content_type():
    assert "text/html" in refused(200, b"<html>", content_type="text/html").message


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (httpx.ConnectError("x"), True),
        (httpx.ConnectTimeout("x"), True),
        (httpx.ReadTimeout("x"), True),
        (httpx.ReadError("x"), True),
        (httpx.WriteError("x"), True),
        (httpx.RemoteProtocolError("x"), True),
        (httpx.ProxyError("x"), True),
        (httpx.DecodingError("x"), True),
        (httpx.LocalProtocolError("x"), False),
        (httpx.UnsupportedProtocol("x"), False),
        (httpx.TooManyRedirects("x"), False),
    ],
)
def test_which_failures_are_repeated(error, repeated):
    assert is_repeated(error) is repeated


def test_a_start():
    request = start_request("story-1.0", {"prompt": "\u2028"}, idempotency_key="k")
    assert request[:2] == ("POST", "/v1/skills/story-1.0/stream")
    assert request.headers["Idempotency-Key"] == "k"
    assert request.headers["Accept-Encoding"] == "identity"
    assert msgspec.json.decode(request.content or b"") == {"input": {"prompt": "\u2028"}}


@pytest.mark.parametrize("key", ["", "k" * 256, "a\nb", "ü"])
def test_a_key_that_is_no_header_value(key):
    with pytest.raises(ValueError, match="idempotency_key"):
        start_request("s", {}, idempotency_key=key)


OPTIONS = options(5, 30, 0.05)
ON_WIRE = {"timeout": 5.0, "on_disconnect": {"cancel_after": 30.0}, "max_cost_usd": "0.05"}


def test_a_start_under_a_chosen_id():
    request = start_request("story", {"a": 1}, execution_id="mine", options=OPTIONS)
    assert request[:2] == ("PUT", "/v1/executions/mine")
    assert request.headers["Accept"] == "text/event-stream"
    assert "Idempotency-Key" not in request.headers
    body = {"skill_id": "story", "input": {"a": 1}, **ON_WIRE}
    assert msgspec.json.decode(request.content or b"") == body


def test_options_are_in_the_body_and_defaults_are_not():
    def body(options):
        return msgspec.json.decode(start_request("s", {}, options=options).content or b"")

    assert body(OPTIONS) == {"input": {}, **ON_WIRE}
    assert body(Options()) == {"input": {}}


@pytest.mark.parametrize("name", ["", "exec_", "exec_a", "a.b", "a/b", "a" * 65, "ü"])
def test_an_id_that_nobody_can_choose(name):
    with pytest.raises(ValueError, match="not an id to choose"):
        start_request("s", {}, execution_id=name)


def test_a_start_has_one_name():
    with pytest.raises(ValueError, match="leave idempotency_key out"):
        start_request("s", {}, execution_id="mine", idempotency_key="k")


def test_the_same_start_in_the_background_tells_the_id():
    start = start_request("a/stream", {"a": 1}, idempotency_key="k", options=OPTIONS)
    request = background_request(start)
    assert request[:2] == ("POST", "/v1/skills/a%2Fstream/executions")
    assert request.content == start.content
    assert request.headers["Idempotency-Key"] == "k"
    assert request.headers["Accept"] == "application/json"
    assert read_started(b'{"execution_id":"exec_a","status_url":"/"}') == Started(
        execution_id="exec_a"
    )
    for body in (b"{}", b'{"execution_id":"a/b"}'):
        with pytest.raises(StreamError, match="bad_response"):
            read_started(body)


def test_a_resume():
    request = resume_request("e", {"Last-Event-ID": "e.1-2"})
    assert request[:2] == ("GET", "/v1/executions/e/stream")
    assert request.headers["Last-Event-ID"] == "e.1-2"
    assert request.content is None


def test_an_execution_needs_its_id_and_status():
    assert read_execution(b'{"execution_id":"e","status":"queued"}').text == ""
    with pytest.raises(StreamError, match="bad_response"):
        read_execution(b'{"execution_id":"e"}')


NOTHING = dict.fromkeys(("execution_id", "skill_id", "expires_in", "max_starts", "timeout"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "either for an execution_id or for a skill_id"),
        ({"execution_id": "e", "skill_id": "s"}, "either for an execution_id or for a skill_id"),
        ({"execution_id": "e", "max_starts": 2}, "go with a skill_id"),
        ({"execution_id": "e", "timeout": 2}, "go with a skill_id"),
        ({"execution_id": "a/b"}, "not an execution id"),
        ({"execution_id": ""}, "not an execution id"),
        ({"skill_id": ""}, "not a skill id"),
        ({"skill_id": "s", "expires_in": 0.5}, "expires_in must be 1 to 86400"),
        ({"skill_id": "s", "expires_in": 86_401}, "expires_in must be 1 to 86400"),
        ({"execution_id": "e", "expires_in": float("nan")}, "expires_in must be 1 to 86400"),
        ({"execution_id": "e", "expires_in": True}, "expires_in must be 1 to 86400"),
        ({"execution_id": "e", "expires_in": "60"}, "expires_in must be 1 to 86400"),
        ({"skill_id": "s", "max_starts": 0}, "max_starts must be 1 to 1000"),
        ({"skill_id": "s", "max_starts": 1001}, "max_starts must be 1 to 1000"),
        ({"skill_id": "s", "max_starts": 1.5}, "max_starts must be 1 to 1000"),
        ({"skill_id": "s", "max_starts": True}, "max_starts must be 1 to 1000"),
        ({"skill_id": "s", "timeout": 0}, "'timeout' must be"),
        ({"skill_id": "s", "timeout": float("inf")}, "'timeout' must be"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_asked_for(arguments, says):
    with pytest.raises(ValueError, match=says):
        token_request(**{**NOTHING, **arguments})


@pytest.mark.parametrize(
    "holder",
    [
        StreamToken(token="eyJ.secret", expires_at=1, skill_id="story"),
        Started(execution_id="exec_a", skill_id="story", stream_token="eyJ.secret"),
    ],
)
def test_a_token_is_not_shown_where_its_holder_is(holder):
    rich = "".join(f"{name}={value}" for name, value in holder.__rich_repr__())
    for shown in (repr(holder), str(holder), f"{[holder]}", rich):
        assert "story" in shown
        assert "secret" not in shown

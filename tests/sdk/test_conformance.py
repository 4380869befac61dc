"""Calls out, answers in: the cases that the Python and the Node SDK share, by both clients."""

import json
from pathlib import Path

import httpx
import msgspec
import pytest

from machpay import exceptions

CASES = json.loads((Path(__file__).parents[1] / "conformance" / "calls.json").read_bytes())
NAMES = {
    "skillId": "skill_id",
    "executionId": "execution_id",
    "idempotencyKey": "idempotency_key",
    "cancelAfter": "cancel_after",
    "maxCostUsd": "max_cost_usd",
    "groupBy": "group_by",
    "expiresIn": "expires_in",
    "maxStarts": "max_starts",
    "from": "start",
    "to": "end",
}
ENCODER = msgspec.json.Encoder(decimal_format="number")


class Playing:
    """A transport that checks the n-th request against the n-th exchange, and answers it."""

    def __init__(self, exchanges):
        self.left = list(exchanges)
        self.keys: set[str | None] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert self.left, f"nobody expects {request.method} {request.url}"
        exchange = self.left.pop(0)
        check_request(request, exchange["request"])
        if request.method == "POST":
            self.keys.add(request.headers.get("idempotency-key"))
        answer = exchange["answer"]
        if answer == "lost":
            raise httpx.ReadError("the connection is gone")
        body = {"json": answer["body"]} if "body" in answer else {"text": answer.get("text", "")}
        # Its own headers last: a text has a content type of its own.
        response = httpx.Response(answer["status"], **body)
        response.headers.pop("content-type", None)
        response.headers.update(answer["headers"])
        return response


def check_request(request: httpx.Request, expected) -> None:
    assert request.method == expected["method"]
    assert request.url.raw_path.decode() == expected["path"]
    for name, value in expected.get("headers", {}).items():
        found = request.headers.get(name)
        assert bool(found) if value == "*" else found == value, (name, found)
    content = request.content
    assert (json.loads(content) if content else None) == expected.get("body")


def camel(value):
    """A result as JSON has it, with the names of the wire's events."""
    if isinstance(value, dict):
        return {_camel(name): camel(item) for name, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def _camel(name):
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def agrees(found, expected):
    """Whether all that is expected was found; a member that nobody named may be anything."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            name in found and agrees(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(agrees, found, expected))
    return found == expected


def call(hands, case):
    subject, _, method = case["call"].rpartition(".")
    function = getattr(getattr(hands.client, subject, hands.client), method)
    arguments = {NAMES.get(name, name): value for name, value in case["arguments"].items()}
    if method != "stream":
        result = hands.do(function(**arguments))
        return camel(json.loads(ENCODER.encode(result)))
    stream = function(**arguments)
    text = "".join(chunk.text for chunk in hands.list(stream))
    summary = stream.summary and json.loads(ENCODER.encode(stream.summary))
    return {
        "text": text,
        "summary": summary,
        "executionId": stream.execution_id,
        "cursor": stream.cursor,
    }


def check_error(hands, case):
    expected = case["error"]
    with pytest.raises(exceptions.StreamError) as raised:
        call(hands, case)
    error = raised.value
    assert type(error) is getattr(exceptions, expected["class"])
    assert (error.code, error.retryable) == (expected["code"], expected["retryable"])
    assert error.retry_after == expected.get("retryAfter")
    assert error.request_id == expected.get("requestId")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_calls(player, case):
    playing = Playing(case["exchanges"])

    def act(hands):
        if "error" in case:
            check_error(hands, case)
        else:
            found = call(hands, case)
            assert agrees(found, case["result"]), found

    options = {"max_retries": case.get("maxRetries"), "api_key": case.get("apiKey")}
    player.run(playing, act, **options)
    assert playing.left == []
    if case.get("sameKey"):
        assert len(playing.keys) == 1
        assert playing.keys != {None}
    if "waits" in case:
        # The first connection is made at once.
        waits = player.pauses[1:]
        assert len(waits) == len(case["waits"])
        assert all(found >= least for found, least in zip(waits, case["waits"], strict=True))


def test_the_cases_have_names_of_their_own():
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)

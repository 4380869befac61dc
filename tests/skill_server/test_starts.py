"""Starts under an idempotency key, and cancelling, at a skill server."""

import json
from typing import Any

import httpx
import pytest

from tests.skill_server.sides import Serve
from tests.skill_server.skills import Gates
from tests.wire import check

KEY = {"Idempotency-Key": "k1"}


def start(http: httpx.Client, key: str | None = "k1", **input: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return http.post("/v1/skills/echo/executions", json={"input": input}, headers=headers)


def test_one_key_is_one_execution(serve: Serve, gates: Gates) -> None:
    with serve() as served:
        first = start(served.http, texts=["a"])
        again = start(served.http, texts=["a"])
        streamed = served.http.post(
            "/v1/skills/echo/stream", json={"input": {"texts": ["a"]}}, headers=KEY
        )
        other = start(served.http, key="k2", texts=["a"])
        unkeyed = start(served.http, key=None, texts=["a"])
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert streamed.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert check(streamed.content)[0].data["executionId"] == first.json()["execution_id"]
    ids = {answer.json()["execution_id"] for answer in (first, other, unkeyed)}
    assert len(ids) == 3
    assert gates.runs == 3


def test_one_key_for_two_inputs_is_refused(serve: Serve, gates: Gates) -> None:
    with serve() as served:
        start(served.http, texts=["a"])
        refused = start(served.http, texts=["b"])
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "idempotency_mismatch"
    assert gates.runs == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_that_is_none(serve: Serve, gates: Gates, key: str) -> None:
    with serve() as served:
        refused = start(served.http, key=key)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "bad_request"
    assert gates.runs == 0


def test_cancelling_ends_the_stream_and_stops_the_handler(serve: Serve, gates: Gates) -> None:
    with serve() as served:
        body = {"input": {"gate": "never"}}
        started = served.http.post("/v1/skills/gated/executions", json=body).json()
        for _ in range(2):
            answer = served.http.post(f"{started['status_url']}/cancel")
            assert answer.status_code == 200
            assert answer.json() == {"execution_id": started["execution_id"]}
        events = check(served.http.get(started["stream_url"]).content)
        status = served.http.get(started["status_url"]).json()
    assert (events[-1].event, events[-1].data["code"]) == ("error", "cancelled")
    assert status["status"] == "cancelled"
    assert gates.finished == 0


def test_cancelling_what_is_not_there(serve: Serve, gates: Gates) -> None:
    with serve() as served:
        answer = served.http.post("/v1/executions/exec_nope/cancel")
    assert answer.status_code == 404
    assert json.loads(answer.content)["error"]["code"] == "execution_not_found"

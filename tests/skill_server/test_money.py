"""Money at both skill servers: a stopped execution pays for what it delivered, and says so."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.skill_server.sides import Serve, Server
from tests.skill_server.skills import Gates
from tests.wire import WireEvent, check_prefix

SKILLS = ("echo", "failing", "priced", "brief")
STREAM = "/v1/skills/{}/stream"


@pytest.fixture
def served(serve: Serve) -> Iterator[Server]:
    with serve(skills=SKILLS) as server:
        yield server


def streamed(server: Server, skill: str, body: dict[str, Any]) -> list[WireEvent]:
    answer = server.http.post(
        STREAM.format(skill), json=body, headers={"Accept": "text/event-stream"}
    )
    assert answer.status_code == 200, answer.text
    return check_prefix(answer.content)


def shown(server: Server, events: list[WireEvent]) -> dict[str, Any]:
    answer = server.http.get(f"/v1/executions/{events[0].data['executionId']}")
    info: dict[str, Any] = json.loads(answer.content, parse_float=Decimal)
    return info


def texts(events: list[WireEvent]) -> list[str]:
    return [event.data["text"] for event in events if event.event == "chunk"]


def test_a_stream_stops_before_it_costs_more_than_its_caller_allows(served: Server) -> None:
    """``echo`` costs 0.001 and 0.00002 a token, that is for 4 characters, until it reports 7."""
    asked = {"input": {"texts": ["abcd"] * 9}, "max_cost_usd": "0.00106"}
    events = streamed(served, "echo", asked)
    assert (events[-1].event, events[-1].data["code"]) == ("error", "budget_exceeded")
    assert texts(events) == ["abcd"] * 3
    info = shown(served, events)
    assert (info["tokens_used"], info["cost_usd"]) == (3, Decimal("0.00106"))
    assert (info["status"], info["duration_ms"] >= 0) == ("failed", True)


@pytest.mark.parametrize("most", ["0.00102", "0.0011"])
def test_nobody_pays_more_than_they_allow_whatever_is_reported(served: Server, most: str) -> None:
    """The chunk costs 0.00102 and what is reported after it 0.00114: that is kept, and capped."""
    events = streamed(served, "echo", {"input": {"texts": ["abcd"]}, "max_cost_usd": most})
    assert texts(events) == ["abcd"]
    assert events[-1].data["code"] == "budget_exceeded"
    info = shown(served, events)
    assert (info["tokens_used"], info["cost_usd"]) == (7, Decimal(most))


def test_out_of_its_callers_time_it_pays_for_what_was_delivered(served: Server) -> None:
    """The 50 tokens are reported after the last chunk: who stops it there does not pay for them."""
    spoken = {"text": "abcd", "tokens": 50}
    for given, limit, *paid in (spoken, 0.3, 1, Decimal("0.00102")), ({}, 0.05, 0, 0):
        events = streamed(served, "priced", {"input": given, "timeout": limit})
        assert events[-1].data["code"] == "timeout"
        info = shown(served, events)
        assert [info["tokens_used"], info["cost_usd"]] == paid


def test_out_of_the_skills_own_time_it_pays_nothing(served: Server) -> None:
    events = streamed(served, "brief", {"input": {"text": "abcd"}, "timeout": 60})
    assert (texts(events), events[-1].data["code"]) == (["abcd"], "timeout")
    info = shown(served, events)
    assert (info["tokens_used"], info["cost_usd"]) == (1, 0)


def test_within_its_limit_nothing_changes(served: Server) -> None:
    events = streamed(served, "echo", {"input": {"texts": ["abcd"]}, "max_cost_usd": 0.00114})
    assert events[-1].data["costUsd"] == 0.00114


def test_what_can_not_be_paid_is_not_started(served: Server, gates: Gates) -> None:
    body = {"input": {"texts": ["a"]}, "max_cost_usd": "0.0009"}
    answer = served.http.post(STREAM.format("echo"), json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "budget_exceeded")
    assert error["message"] == (
        "This skill costs at least 0.001 USD, more than max_cost_usd (0.0009)."
    )
    assert gates.runs == 0


def test_what_failed_costs_nothing_and_says_what_it_used(served: Server) -> None:
    events = streamed(served, "failing", {"input": {}})
    info = shown(served, events)
    assert info["error"]["code"] == "skill_error"
    assert (info["tokens_used"], info["cost_usd"]) == (1, 0)


@pytest.mark.parametrize("deliver", [True, False], ids=["after a chunk", "before the first"])
def test_a_cancelled_one_pays_for_what_was_delivered(served: Server, deliver: bool) -> None:
    """``priced`` costs 0.001 and 0.00002 a token: for 4 characters, or none, and not for its report."""
    received, execution_id = b"", ""
    asked = {"input": {"text": "abcd" if deliver else None, "tokens": 50}}
    with served.http.stream("POST", STREAM.format("priced"), json=asked) as response:
        for piece in response.iter_raw():
            received += piece
            if not execution_id and (b"event: chunk" in received or not deliver):
                execution_id = check_prefix(received)[0].data["executionId"]
                served.http.post(f"/v1/executions/{execution_id}/cancel")
    events = check_prefix(received)
    assert events[-1].data["code"] == "cancelled"
    info = shown(served, events)
    paid = (1, Decimal("0.00102")) if deliver else (0, 0)
    assert (info["status"], info["tokens_used"], info["cost_usd"]) == ("cancelled", *paid)

"""Starts that say what they may cost, at both skill servers."""

import json

from tests.skill_server.sides import Server
from tests.wire import check

ECHO = "/v1/skills/echo/stream"


def shown(served: Server, execution_id: str) -> dict[str, object]:
    found: dict[str, object] = served.http.get(f"/v1/executions/{execution_id}").json()
    return found


def test_an_execution_ends_before_it_costs_more_and_pays_what_was_delivered(served: Server) -> None:
    """0.001 USD, and 0.00002 for each token; its own report of 7 tokens comes last."""
    asked = {"input": {"texts": ["12345678", "9012"]}}
    whole = check(served.http.post(ECHO, json={**asked, "max_cost_usd": 0.00114}).content)
    assert whole[-1].data["costUsd"] == 0.00114
    cut = check(served.http.post(ECHO, json={**asked, "max_cost_usd": "0.00105"}).content)
    assert [event.data.get("text") for event in cut[1:-1]] == ["12345678"]
    assert cut[-1].data == {
        "code": "budget_exceeded",
        "message": "To go on would cost more than 0.00105 USD.",
    }
    found = shown(served, cut[0].data["executionId"])
    assert (found["status"], found["tokens_used"], found["cost_usd"]) == ("failed", 2, 0.00104)
    none = check(served.http.post(ECHO, json={**asked, "max_cost_usd": "0.00101"}).content)
    assert len(none) == 2
    found = shown(served, none[0].data["executionId"])
    assert (found["tokens_used"], found["cost_usd"]) == (0, 0)


def test_a_budget_below_the_base_price_is_refused(served: Server) -> None:
    refused = served.http.post(ECHO, json={"max_cost_usd": "0.0009"})
    assert (refused.status_code, json.loads(refused.content)["error"]) == (
        422,
        {
            "code": "budget_exceeded",
            "message": "This skill costs at least 0.001 USD, more than max_cost_usd (0.0009).",
        },
    )


def test_what_fails_is_free_and_what_is_cancelled_pays_its_part(served: Server) -> None:
    failed = check(served.http.post("/v1/skills/failing/stream", json={}).content)
    found = shown(served, failed[0].data["executionId"])
    assert (found["status"], found["tokens_used"], found["cost_usd"]) == ("failed", 1, 0)
    started = served.http.post("/v1/skills/endless/executions", json={}).json()
    with served.http.stream("GET", started["stream_url"]) as stream:
        for line in stream.iter_lines():
            if line == "event: chunk":
                break
    served.http.post(f"{started['status_url']}/cancel")
    found = shown(served, started["execution_id"])
    assert found["status"] == "cancelled"
    assert isinstance(found["tokens_used"], int)
    assert found["tokens_used"] > 0
    assert found["cost_usd"] == 0

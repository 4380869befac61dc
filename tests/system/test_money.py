"""Money on the real system: what a stopped stream pays is what its log has, and its row says so."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import redis

from ops.system import System
from shared.keys import ledger_key
from tests.waiting import wait_until
from tests.wire import WireEvent, check_prefix

BASE, PER_TOKEN = Decimal("0.001"), Decimal("0.00002")
"""What the skill ``relay`` costs: once, and for each token."""


def row(system: System, execution_id: str) -> dict[str, Any]:
    """Wait for the row of an execution."""
    key = ledger_key("default", datetime.now(UTC).date().isoformat())
    found: list[bytes] = []
    with redis.Redis.from_url(system.redis_url) as database:

        def there() -> bool:
            found[:] = filter(None, [database.hget(key, execution_id)])
            return bool(found)

        wait_until(there, f"{execution_id} has its row")
    decoded: dict[str, Any] = json.loads(found[0], parse_float=Decimal)
    return decoded


def delivered(events: list[WireEvent]) -> tuple[str, int]:
    text = "".join(event.data["text"] for event in events if event.event == "chunk")
    return text, -(-len(text) // 4)


def shown(http: httpx.Client, execution_id: str) -> dict[str, Any]:
    answer = http.get(f"/v1/executions/{execution_id}")
    shown: dict[str, Any] = json.loads(answer.content, parse_float=Decimal)
    return shown


def agrees(http: httpx.Client, system: System, execution_id: str, tokens: int) -> Decimal:
    """Check that snapshot and row say the same, for so many tokens; return the cost."""
    info, kept = shown(http, execution_id), row(system, execution_id)
    cost = BASE + PER_TOKEN * tokens
    assert (info["tokens_used"], info["cost_usd"]) == (tokens, cost)
    assert (kept["tokensUsed"], kept["costUsd"]) == (tokens, cost)
    assert kept["durationMs"] == info["duration_ms"] >= 0
    return cost


def test_a_cancelled_stream_pays_for_what_was_delivered(http: httpx.Client, system: System) -> None:
    body = {"input": {"n": 1000, "pause": 0.01}}
    received, execution_id = b"", ""
    with http.stream("POST", "/v1/skills/relay/stream", json=body) as response:
        for piece in response.iter_raw():
            received += piece
            if not execution_id and received.count(b"event: chunk") >= 5:
                execution_id = check_prefix(received)[0].data["executionId"]
                assert http.post(f"/v1/executions/{execution_id}/cancel").status_code == 200
    events = check_prefix(received)
    assert events[-1].data["code"] == "cancelled"
    text, tokens = delivered(events)
    assert agrees(http, system, execution_id, tokens) > BASE
    info = shown(http, execution_id)
    assert (info["text"], info["status"]) == (text, "cancelled")


def test_a_stream_stops_before_it_costs_more_than_its_caller_allows(
    http: httpx.Client, system: System
) -> None:
    body = {"input": {"n": 1000}, "max_cost_usd": "0.0011"}
    events = check_prefix(http.post("/v1/skills/relay/stream", json=body).content)
    assert events[-1].event == "error"
    assert events[-1].data["code"] == "budget_exceeded"
    text, tokens = delivered(events)
    assert tokens == 5  # 20 characters: one more would be the sixth token
    assert text == "0 1 2 3 4 5 6 7 8 9 "
    execution_id = events[0].data["executionId"]
    assert agrees(http, system, execution_id, tokens) == Decimal("0.0011")


def test_what_can_not_be_paid_is_not_started(http: httpx.Client) -> None:
    body = {"input": {"n": 1}, "max_cost_usd": 0.0009}
    answer = http.post("/v1/skills/relay/stream", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "budget_exceeded"
    assert "0.001 USD" in answer.json()["error"]["message"]


def test_a_time_limit_of_its_callers_own_is_paid_like_a_stop(
    http: httpx.Client, system: System
) -> None:
    body = {"input": {"n": 1000, "pause": 0.01}, "timeout": 0.3}
    events = check_prefix(http.post("/v1/skills/relay/stream", json=body).content)
    assert events[-1].data["code"] == "timeout"
    _, tokens = delivered(events)
    assert agrees(http, system, events[0].data["executionId"], tokens) > BASE


def test_what_failed_says_what_it_used_and_costs_nothing(
    http: httpx.Client, system: System
) -> None:
    body = {"input": {"how": "raise"}}
    events = check_prefix(http.post("/v1/skills/odd/stream", json=body).content)
    execution_id = events[0].data["executionId"]
    info, kept = shown(http, execution_id), row(system, execution_id)
    assert info["error"]["code"] == "skill_error"
    assert info["tokens_used"] == -(-len("so far ") // 4)
    assert info["cost_usd"] == 0
    assert (kept["tokensUsed"], kept["costUsd"], kept["durationMs"]) == (0, 0, 0)


def test_what_is_cancelled_before_it_delivered_anything_is_free(
    http: httpx.Client, system: System
) -> None:
    body = {"input": {"stuck": 30}}
    started = http.post("/v1/skills/count/executions", json=body).json()["execution_id"]
    wait_until(lambda: shown(http, started)["status"] == "running", "it runs")
    assert http.post(f"/v1/executions/{started}/cancel").status_code == 200
    assert shown(http, started)["cost_usd"] == 0
    assert row(system, started)["costUsd"] == 0

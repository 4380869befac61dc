"""The answers that refuse a request, as the OpenAPI document has them; ``docs/errors.md`` lists them, too."""

from collections.abc import Iterable
from typing import Any, Final

from machpay.serve.schemas import REFERENCE

REFUSALS: Final[dict[str, tuple[int, str]]] = {
    "bad_request": (
        400,
        "the body is not a JSON object, or a key, an id or a parameter is not what it must be",
    ),
    "bad_cursor": (400, "the last event id is not a cursor, or one of another execution"),
    "unauthorized": (401, "an API key or a stream token is needed, and this is none, or expired"),
    "insufficient_credit": (402, "the account's credit does not cover what the start may cost"),
    "forbidden": (403, "the token or key does not allow this, or a page of another site sent it"),
    "skill_not_found": (404, "there is no such skill"),
    "execution_not_found": (404, "unknown, expired, or not yours"),
    "request_timeout": (408, "the body took too long to arrive"),
    "body_too_large": (413, "the body is over the server's limit, 1 MiB by default"),
    "budget_exceeded": (422, "the skill's base price is more than `max_cost_usd`"),
    "input_too_large": (413, "the input is over the account's limit"),
    "idempotency_mismatch": (422, "the key or id was used to start something else"),
    "invalid_input": (422, "the input is not what the skill's `input_schema` says"),
    "too_many_executions": (429, "as many of the account's executions run as may at once"),
    "too_many_starts": (429, "the account has started as often in this minute as it may"),
    "too_many_cancels": (429, "the account has cancelled too many that were never started"),
    "internal": (500, "a fault of ours"),
    "unavailable": (503, "the store can't be reached, or too much is asked for at once"),
    "draining": (503, "this server is shutting down; another one serves"),
    "overloaded": (503, "a skill server runs as many executions as it may"),
}
"""By code: the status, and why."""

_RETRY_AFTER: Final = {
    "Retry-After": {
        "description": "When to try again, in s; `/readyz` does not say.",
        "schema": {"type": "integer"},
    }
}


def refusals(codes: Iterable[str]) -> dict[str, Any]:
    """Make the answers of an operation that refuse, by status.

    Args:
        codes: What it may be refused for.
    """
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(REFUSALS[code][0], []).append(code)
    return {str(status): _answer(status, by_status[status]) for status in sorted(by_status)}


def _answer(status: int, codes: list[str]) -> dict[str, Any]:
    one_of = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    schema = {"allOf": [{"$ref": f"{REFERENCE}ErrorBody"}, one_of]}
    answer: dict[str, Any] = {
        "description": "\n".join(f"* `{code}`: {REFUSALS[code][1]}" for code in codes),
        "content": {"application/json": {"schema": schema}},
    }
    return {**answer, "headers": _RETRY_AFTER} if status in (429, 503) else answer

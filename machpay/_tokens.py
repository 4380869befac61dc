"""``POST /v1/tokens``: what it asks for. Pure, as :mod:`machpay._requests`.

To repeat the request is safe: nothing is kept of a token that nobody got.
"""

from typing import Any, Final

import msgspec

from machpay._options import Usd, options
from machpay._requests import JSON_HEADERS, Request, checked_execution_id, checked_skill_id

EXPIRES_IN: Final = (1.0, 86_400.0)
"""The shortest and the longest that a stream token may read, or start, in s."""

MAX_STARTS: Final = (1, 1000)
"""The fewest and the most executions that one stream token may start."""


def token_request(
    *,
    execution_id: str | None,
    skill_id: str | None,
    expires_in: float | None,
    max_starts: int | None,
    timeout: float | None,
    max_cost_usd: Usd | None = None,
) -> Request:
    """Build the request that makes a stream token.

    Args:
        execution_id: What it reads.
        skill_id: What it starts, in place of that.
        expires_in: For how long, in s.
        max_starts: How many executions it starts.
        timeout: The longest that each of them may run, in s.
        max_cost_usd: The most that each of them may cost, in USD.

    Raises:
        ValueError: Not one of the two ids, an option of the other kind of token, or a value that
            cannot be what it says.
    """
    if (execution_id is None) == (skill_id is None):
        raise ValueError("a token is either for an execution_id or for a skill_id")
    body: dict[str, Any]
    if execution_id is not None:
        if (max_starts, timeout, max_cost_usd) != (None, None, None):
            raise ValueError(
                "max_starts, timeout and max_cost_usd go with a skill_id: nothing else is started"
            )
        body = {"execution_id": checked_execution_id(execution_id)}
    elif skill_id is not None:
        checked_skill_id(skill_id)
        body = {"skill_id": skill_id, **options(timeout, None, max_cost_usd).body()}
    if expires_in is not None:
        body["expires_in"] = _within("expires_in", expires_in, EXPIRES_IN, int, float)
    if max_starts is not None:
        body["max_starts"] = _within("max_starts", max_starts, MAX_STARTS, int)
    headers = {**JSON_HEADERS, "Content-Type": "application/json"}
    return Request("POST", "/v1/tokens", headers, msgspec.json.encode(body))


def _within(name: str, value: Any, limits: tuple[float, float], *kinds: type[float]) -> float:
    """Return a number that is in its range: NaN is in none, and a boolean is no number."""
    low, high = limits
    if isinstance(value, bool) or not (isinstance(value, kinds) and low <= value <= high):
        raise ValueError(f"{name} must be {low:.0f} to {high:.0f}, not {value!r}")
    return value

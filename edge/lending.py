"""``POST /v1/tokens``: an account lends a stream token to a browser."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.executions import RedisExecutions
from edge.tokens import READS_FOR, STARTS_FOR, Tokens
from machpay._options import Options
from machpay._position import is_execution_id
from machpay.serve.access import Access, needs_key
from machpay.serve.callers import Caller
from machpay.serve.executions import ApiError, execution_not_found
from machpay.serve.requests import MAX_BODY_BYTES, read_object
from machpay.serve.responses import json_response
from machpay.serve.schemas import LONGEST_TOKEN, MOST_STARTS, StreamToken

_TO_READ: Final = frozenset({"execution_id", "expires_in"})
_TO_START: Final = frozenset({"skill_id", "expires_in", "max_starts", "timeout", "max_cost_usd"})
_OPTIONS: Final = ("timeout", "max_cost_usd")


def tokens_route(executions: RedisExecutions, tokens: Tokens, access: Access) -> Route:
    """Make the route.

    Args:
        executions: What there is to read.
        tokens: Makes them.
        access: Who may do what.
    """

    async def lend(request: Request) -> Response:
        caller = needs_key(await access.acting(request))
        body = await read_object(request, MAX_BODY_BYTES)
        make = _to_start if "skill_id" in body else _to_read
        return json_response(await make(caller, body, executions, tokens), status=201)

    return Route("/v1/tokens", lend, methods=["POST"])


async def _to_read(
    caller: Caller, body: dict[str, Any], executions: RedisExecutions, tokens: Tokens
) -> StreamToken:
    _refuse_unknown(body, _TO_READ)
    execution_id = body.get("execution_id")
    if not isinstance(execution_id, str):
        raise _bad("A token is for an 'execution_id' or for a 'skill_id'.")
    if not is_execution_id(execution_id):
        raise execution_not_found()
    owner = await executions.owner(execution_id, caller)
    lasts = _lasts(body, READS_FOR)
    return await tokens.to_read(owner, execution_id, lasts, key=caller.key)


async def _to_start(
    caller: Caller, body: dict[str, Any], executions: RedisExecutions, tokens: Tokens
) -> StreamToken:
    _refuse_unknown(body, _TO_START)
    lasts, starts = _lasts(body, STARTS_FOR), body.get("max_starts", 1)
    # 2.0 is an integer to JSON Schema, and to some languages' JSON.
    if isinstance(starts, float) and starts.is_integer():
        starts = int(starts)
    if isinstance(starts, bool) or not isinstance(starts, int) or not 1 <= starts <= MOST_STARTS:
        raise _bad(f"'max_starts' must be 1 to {MOST_STARTS}.")
    try:
        options = Options.of_body({key: body[key] for key in _OPTIONS if key in body})
    except ValueError as error:
        raise _bad(str(error)) from None
    skill_id = body["skill_id"]
    skill = await executions.skill(skill_id) if isinstance(skill_id, str) else None
    if skill is None:
        raise ApiError(404, "skill_not_found", "There is no such skill.")
    return await tokens.to_start(caller.account, skill, lasts, starts, options, key=caller.key)


def _refuse_unknown(body: dict[str, Any], known: frozenset[str]) -> None:
    for key in body:
        if key not in known:
            raise _bad(f"The body has an unknown key: {key[:64]!r}.")


def _lasts(body: dict[str, Any], default: float) -> float:
    lasts = body.get("expires_in", default)
    if (
        isinstance(lasts, bool)
        or not isinstance(lasts, int | float)
        or not 1 <= lasts <= LONGEST_TOKEN
    ):
        raise _bad(f"'expires_in' must be 1 to {LONGEST_TOKEN:.0f} seconds.")
    return float(lasts)


def _bad(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)

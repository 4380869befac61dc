"""``GET /v1/usage``: the ledger, filtered and summed."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.reach import reachable
from machpay.serve.access import Access, needs_key
from machpay.serve.executions import ApiError
from machpay.serve.responses import json_response
from shared.usage import GroupBy, Usage

DEFAULT_DAYS: Final = 30
"""How many days before today a report begins, unless it is told."""

MOST_DAYS: Final = 366

REPORT_WITHIN: Final = 30.0
"""How long the ledger may take, in s."""

_OLDEST: Final = 2000
_KEYS: Final = frozenset({"from", "to", "skill", "group_by", "token"})


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    Attributes:
        start: The first day.
        end: The last day.
        skill_id: Only this skill; ``None``: all.
        group_by: What to sum for beside the total, if anything.
    """

    start: date
    end: date
    skill_id: str | None
    group_by: GroupBy | None


def usage_route(usage: Usage, access: Access) -> Route:
    """Make the route.

    Args:
        usage: Sums the ledger.
        access: Who may do what.
    """

    async def report(request: Request) -> Response:
        caller = needs_key(await access.identify(request))
        query = read_query(request)
        async with reachable(REPORT_WITHIN):
            found = await usage.report(
                caller.account,
                query.start,
                query.end,
                skill_id=query.skill_id,
                group_by=query.group_by,
            )
        return json_response(found)

    return Route("/v1/usage", report, methods=["GET"])


def read_query(request: Request) -> Query:
    """Read what is asked for.

    Raises:
        ApiError: 400 ``bad_request``, with what is wrong.
    """
    given = request.query_params
    unknown = sorted(given.keys() - _KEYS)
    if unknown:
        raise _bad(f"There is no {unknown[0]!r}: from, to, skill and group_by are what there is.")
    end = _day("to", given.get("to")) or datetime.now(UTC).date()
    start = _day("from", given.get("from")) or end - timedelta(days=DEFAULT_DAYS)
    if not 0 <= (end - start).days < MOST_DAYS:
        raise _bad(f"'from' is not after 'to', and they are at most {MOST_DAYS} days.")
    try:
        group_by = msgspec.convert(given.get("group_by"), GroupBy | None)
    except msgspec.ValidationError:
        raise _bad("'group_by' must be day or skill.") from None
    return Query(start=start, end=end, skill_id=given.get("skill"), group_by=group_by)


def _day(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    # Python also reads 20261124 and 2026-W48-2. And nothing was run before the year 2000.
    if day.isoformat() != text or day.year < _OLDEST:
        raise _bad(f"'{name}' must be a day, as 2026-11-24.")
    return day


def _bad(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)

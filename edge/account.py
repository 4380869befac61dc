"""``GET /v1/account``: what an account may start, and what it may still spend."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.limits import Limits
from machpay.serve.access import Access, needs_key
from machpay.serve.accounts import AccountInfo, AccountLimits
from machpay.serve.responses import json_response


def account_route(limits: Limits, access: Access) -> Route:
    """Make the route.

    Args:
        limits: What accounts may start.
        access: Who may do what.
    """

    async def show(request: Request) -> Response:
        caller = needs_key(await access.identify(request))
        bounds = await limits.of(caller.account)
        found = await limits.account(caller.account)
        prepaid = found.credit is not None
        return json_response(
            AccountInfo(
                account=caller.account,
                operator=caller.operator,
                limits=AccountLimits(
                    executions=bounds.executions or UNSET,
                    starts_per_minute=bounds.starts_per_minute or UNSET,
                    input_bytes=bounds.input_bytes or UNSET,
                ),
                running=found.running if prepaid or bounds.executions else UNSET,
                credit_usd=UNSET if found.credit is None else found.credit,
                reserved_usd=found.reserved if prepaid else UNSET,
            )
        )

    return Route("/v1/account", show, methods=["GET"])

"""What an account may start: how much at once, how often, how large, and for how much money."""

import asyncio
import math
from contextlib import suppress
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from msgspec import structs

from edge.rate import StartRate
from edge.reach import reachable
from machpay.serve.executions import ApiError, StartRequest, Unavailable
from shared.holds import Account, Holds, Placed, Poor, Standing, TooMany
from shared.redis import Client
from shared.settings import Settings
from shared.terms import Terms

REMEMBERED: Final = 1.0
"""For how long an edge takes what is set for an account to be as it read it last, in s."""

MOST_REMEMBERED: Final = 10_000
"""Of how many accounts."""

RETRY_EXECUTIONS: Final = 2
"""What a client is told to wait when as many of its executions run as may, in s: nobody knows when the
first of them ends."""

GIVE_BACK_WITHIN: Final = 0.3
"""How long the end of a start that failed waits until its hold is given back, in s; else it lapses."""

_LEAST: Final = Decimal("1e-9")


class Bounds(NamedTuple):
    """What holds for an account: its own limits, or everybody's.

    Attributes:
        prepaid: It pays from its credit.
        executions: How many of its executions may run at once; 0: any number.
        starts_per_minute: How often it may start; 0: any number of times.
        input_bytes: The largest input, in bytes of JSON; 0: any.
    """

    prepaid: bool
    executions: int
    starts_per_minute: int
    input_bytes: int

    @property
    def any(self) -> bool:
        """Whether there is anything that a start could be refused for."""
        return self.prepaid or any(self[1:])


class Admitted(NamedTuple):
    """A start that was let through.

    Attributes:
        terms: Its terms, with what is reserved as the most that it may cost.
        lapses: When the hold that was placed for it lapses, as :meth:`Limits.dismiss` takes it; ``None``
            when it has none of its own.
    """

    terms: Terms
    lapses: int | None = None


class Limits:
    """Lets starts through, or refuses them.

    Args:
        redis: The queue's Redis.
        settings: What holds for every account that has no limits of its own.
    """

    def __init__(self, redis: Client, settings: Settings) -> None:
        self._holds = Holds(redis)
        self._rate = StartRate(redis)
        self._settings = settings
        self._known: dict[str, tuple[float, Bounds]] = {}
        self._full: dict[str, tuple[float, float]] = {}

    async def of(self, account: str) -> Bounds:
        """Tell what holds for an account: what was read a second ago still does.

        Raises:
            Unavailable: Redis can't be reached.
        """
        now = asyncio.get_running_loop().time()
        until, bounds = self._known.get(account, (0.0, None))
        if bounds is not None and now < until:
            return bounds
        async with reachable():
            bounds = self._bounds(await self._holds.standing(account))
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[account] = now + REMEMBERED, bounds
        return bounds

    def _bounds(self, own: Standing) -> Bounds:
        every = self._settings
        return Bounds(
            own.prepaid,
            every.account_executions if own.executions is None else own.executions,
            every.starts_per_minute if own.starts_per_minute is None else own.starts_per_minute,
            every.input_bytes if own.input_bytes is None else own.input_bytes,
        )

    async def account(self, name: str) -> Account:
        """Tell how an account stands.

        Raises:
            Unavailable: Redis can't be reached.
        """
        async with reachable():
            return await self._holds.account(name)

    async def admit(self, execution_id: str, request: StartRequest, terms: Terms) -> Admitted:
        """Let a start through: it is counted, and has a hold if it needs one.

        It is counted before it is held, whatever its name: were one of two starts of the same name refused
        after it had placed the hold, the other one, which had found that hold, would run without.

        Args:
            execution_id: What it will be.
            request: The start: one that was not made before.
            terms: Its terms. ``max_cost`` is what its caller said.

        Raises:
            ApiError: 402 ``insufficient_credit``, 413 ``input_too_large``, 429 ``too_many_executions``
                or ``too_many_starts``.
            Unavailable: Redis can't be reached.
        """
        bounds = await self.of(request.account)
        if bounds.input_bytes and len(msgspec.json.encode(request.input)) > bounds.input_bytes:
            message = f"The input is over {bounds.input_bytes} bytes of JSON."
            raise ApiError(413, "input_too_large", message)
        if bounds.starts_per_minute:
            await self._count(request.account, bounds.starts_per_minute)
        if not (bounds.prepaid or bounds.executions):
            return Admitted(terms)
        wanted, least = self._needs(request, terms)
        placed = await self._place(execution_id, request, bounds, wanted, least)
        if placed.reserved is None:
            return Admitted(terms, placed.lapses)
        # The hold may be of another start of the same name, that asked for more, or for less.
        most = placed.reserved if terms.max_cost is None else min(placed.reserved, terms.max_cost)
        terms = structs.replace(terms, prepaid=True, max_cost=most if wanted else terms.max_cost)
        return Admitted(terms, placed.lapses)

    async def dismiss(self, account: str, execution_id: str, admitted: Admitted) -> None:
        """Give back the hold of a start of which nothing came; or it lapses.

        Only one that was placed for this very start, and that nobody else relies on by now.

        Args:
            account: Its account.
            execution_id: What it would have been.
            admitted: As it was let through.
        """
        if admitted.lapses is None:
            return
        with suppress(Unavailable):
            async with reachable(GIVE_BACK_WITHIN):
                await self._holds.release(account, execution_id, admitted.lapses)

    async def _count(self, account: str, per_minute: int) -> None:
        """Count a start, or refuse it.

        Until there is room again, as Redis said last, who comes is refused without asking it: whoever
        hammers costs it, and the others, next to nothing.
        """
        clock = asyncio.get_running_loop().time
        look_at, room_at = self._full.get(account, (0.0, 0.0))
        if clock() >= look_at:
            async with reachable():
                wait = await self._rate.take(account, per_minute)
            if not wait:
                return
            room_at = clock() + wait
            if len(self._full) >= MOST_REMEMBERED:
                self._full.clear()
            self._full[account] = min(room_at, clock() + REMEMBERED), room_at
        message = f"The account may start {per_minute} executions a minute."
        retry_after = max(1, math.ceil(room_at - clock()))
        raise ApiError(429, "too_many_starts", message, retry_after=retry_after)

    async def _place(
        self,
        execution_id: str,
        request: StartRequest,
        bounds: Bounds,
        wanted: Decimal,
        least: Decimal,
    ) -> Placed:
        try:
            async with reachable():
                return await self._holds.place(
                    request.account,
                    execution_id,
                    most=bounds.executions,
                    wanted=wanted,
                    least=least,
                )
        except TooMany:
            message = f"The account may run {bounds.executions} executions at once, and does."
            raise ApiError(
                429, "too_many_executions", message, retry_after=RETRY_EXECUTIONS
            ) from None
        except Poor as poor:
            raise insufficient_credit(
                f"The account's credit is {poor.credit:f} USD; this start takes {least:f} at least."
            ) from None

    def _needs(self, request: StartRequest, terms: Terms) -> tuple[Decimal, Decimal]:
        """Tell what to reserve for a start, and the least that will do, in USD."""
        pricing = terms.pricing
        # The dearest it can get: as long as it may run, and a token for each byte it may write.
        dearest = pricing.cost(
            tokens=request.skill.max_output_bytes, milliseconds=math.ceil(terms.timeout * 1000)
        )
        if terms.max_cost is not None:
            wanted = min(dearest, terms.max_cost)
            return wanted, wanted
        wanted = min(dearest, pricing.base_usd + self._settings.reserve_usd)
        least = pricing.base_usd if dearest <= pricing.base_usd else pricing.base_usd + _LEAST
        return wanted, min(wanted, least)


def insufficient_credit(message: str) -> ApiError:
    """Refuse what an account's credit does not cover."""
    return ApiError(402, "insufficient_credit", message)

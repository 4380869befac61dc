"""Waiting for a Redis that is away: for work that can be repeated, and must be done."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from redis.exceptions import RedisError

from shared.cancellation import cancelled
from shared.redis import is_away
from shared.telemetry import Outage

T = TypeVar("T")

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""The shortest and the longest pause between two tries, in s."""


async def patiently(
    work: Callable[[], Awaitable[T]], logger: logging.Logger, what: str, limit: float
) -> T:
    """Do some work, however often it takes while Redis is away.

    Args:
        work: What to do; safe to repeat when its answer was lost.
        logger: Where to say, once, that it has to wait.
        what: What waits.
        limit: How long it may take in all, in s.

    Raises:
        TimeoutError: Redis was away for too long.
        RedisError: Redis refuses for a reason that waiting won't mend.
        Exception: What else the work raises.
    """
    try:
        # Nearly always all there is: no timer for it, since a command has a deadline of its own.
        return await work()
    except (RedisError, OSError) as error:
        if not is_away(error):
            raise
        outage = Outage(logger, f"{what} waits")
        outage.goes_on(error)
    pause = FIRST_PAUSE
    async with asyncio.timeout(limit):
        while not cancelled():
            try:
                done = await work()
            except (RedisError, OSError) as error:
                if not is_away(error):
                    raise
                outage.goes_on(error)
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                outage.is_over()
                return done
    raise asyncio.CancelledError

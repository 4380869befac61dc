"""Redis as a request sees it: there in time, or to be tried again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.exceptions import RedisError

from machpay.serve.executions import Unavailable
from shared.redis import is_away

ANSWER_WITHIN: Final = 3.0
"""How long a request waits for Redis, in s, before it is told to come back."""


@asynccontextmanager
async def reachable(within: float | None = None) -> AsyncIterator[None]:
    """Turn a Redis that is away, or hangs, into :class:`Unavailable`.

    Args:
        within: How long it may take, in s; :data:`ANSWER_WITHIN` when left out.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN if within is None else within):
            yield
    except (RedisError, OSError) as error:
        if is_away(error):
            raise Unavailable(str(error)) from error
        raise

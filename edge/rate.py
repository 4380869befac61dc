"""How often an account starts: counted by the package ``limits``, in the queue's Redis."""

import math
from typing import Final

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from shared.keys import STARTS_PREFIX
from shared.redis import Client

WINDOW: Final = 60.0
"""In s."""


class StartRate:
    """Counts starts in a sliding window of a minute.

    The window is two counters: the last whole minute counts for the part of it that is still within the
    window, as if its starts had been spread evenly. So an account takes two short keys however often it
    starts, no edge's clock is asked, and what is refused is not counted.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._storage = RedisStorage(
            "redis://",
            implementation="redispy",
            key_prefix=STARTS_PREFIX,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type] # its stub knows no pools
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    async def take(self, account: str, per_minute: int) -> float:
        """Count a start, if it may be.

        Args:
            account: Whose.
            per_minute: How many there may be.

        Returns:
            0 when it may; else in how many s there is room for the next one.
        """
        item = RateLimitItemPerMinute(per_minute)
        if await self._limiter.hit(item, account):
            return 0.0
        window = await self._storage.get_sliding_window(item.key_for(account), item.get_expiry())
        return frees_in(per_minute, *window)


def frees_in(most: int, before: int, before_for: float, now: int, now_for: float) -> float:
    """Tell when a window that is full has room again, in s; more than 0.

    Args:
        most: How many starts there may be.
        before: How many there were in the minute before this one.
        before_for: How long that one still reaches into the window, in s.
        now: How many there are in this minute.
        now_for: How long until this minute is forgotten, in s: two minutes from its beginning.
    """
    room = most - now
    if room > 0:
        # The part of the minute before has to shrink until a whole start fits.
        wait = before_for - WINDOW * room / before if before else 0.0
    else:
        # This minute becomes the one before, and then has to shrink.
        wait = now_for - WINDOW * most / now
    return max(wait, math.ulp(0.0))

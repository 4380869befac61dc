"""The queue's Redis for a command of an operator's: the one that edges and workers use."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from shared.redis import Client, connect
from shared.settings import Settings, SettingsError


def with_redis(work: Callable[[Client], Awaitable[int]]) -> int:
    """Do something with the queue's Redis (``MACHPAY_REDIS_URL``).

    Args:
        work: Takes the client; its result is the command's exit code.

    Returns:
        That; or 1 when Redis can't be reached, or a variable is wrong, which is said.
    """
    try:
        settings = Settings.from_environ(os.environ)
        return asyncio.run(_with(settings.redis_url, work))
    except SettingsError as error:
        print(error, file=sys.stderr)
    except (RedisError, OSError) as error:
        print(f"Redis (MACHPAY_REDIS_URL) can't do this: {error}", file=sys.stderr)
    return 1


async def _with(url: str, work: Callable[[Client], Awaitable[int]]) -> int:
    client = connect(url)
    try:
        return await work(client)
    finally:
        await client.aclose()

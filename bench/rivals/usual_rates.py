"""How fast the usual way appends and enqueues from one process; see :mod:`bench.rivals.usual`."""

import asyncio
import time
from typing import Final

from arq import create_pool
from arq.connections import RedisSettings
from redis.asyncio import Redis

READY: Final = "bench:ready"
"""A list: each worker that has started adds to it."""

GO: Final = "bench:go"
"""A list: each worker of :meth:`bench.rivals.usual.Usual.jobs` takes one before it looks for jobs."""

_APPENDED: Final = "bench:appended"
_ENQUEUED_AT_ONCE: Final = 50


async def append(url: str, batch: int, seconds: float) -> float:
    """Append to one stream; returns chunks per second.

    Args:
        url: Of the store.
        batch: How many chunks to a pipeline; 1: no pipeline.
        seconds: For how long.
    """
    fields = {"chunk": b"x" * 30}
    async with Redis.from_url(url) as redis:
        await redis.unlink(_APPENDED)  # connects, too
        appended = 0
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            if batch == 1:
                await redis.xadd(_APPENDED, fields)
            else:
                pipeline = redis.pipeline(transaction=False)
                for _ in range(batch):
                    pipeline.xadd(_APPENDED, fields)
                await pipeline.execute()
            appended += batch
        await redis.unlink(_APPENDED)
    return appended / took


async def enqueue(url: str, count: int) -> None:
    """Enqueue jobs that do nothing.

    Args:
        url: Of the store.
        count: How many.
    """
    pool = await create_pool(RedisSettings.from_dsn(url))
    for first in range(0, count, _ENQUEUED_AT_ONCE):
        some = range(first, min(first + _ENQUEUED_AT_ONCE, count))
        await asyncio.gather(*(pool.enqueue_job("do_nothing") for _ in some))
    await pool.aclose()

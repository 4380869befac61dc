"""The usual way's workers, run by arq's own command; see :mod:`bench.rivals.usual`.

``arq bench.rivals.usual_worker.Streams`` or ``.Jobs``, with ``BENCH_REDIS_URL`` set.
"""

import asyncio
import os
from typing import Any, ClassVar, Final

import uvloop
from arq.connections import ArqRedis, RedisSettings

from bench.rivals.chunk import encode_chunk
from bench.rivals.usual_rates import GO, READY

URL: Final = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
KEPT: Final = 3600

# arq's Worker takes the loop that is current when it is made: its command has no option for that.
asyncio.set_event_loop(uvloop.new_event_loop())


async def produce(ctx: dict[str, Any], events: int, interval: float, delay: float) -> None:
    """Make a stream: append each chunk as it comes, then the end."""
    redis: ArqRedis = ctx["redis"]
    key = f"stream:{ctx['job_id']}"
    await asyncio.sleep(delay)
    for index in range(events):
        if index and interval:
            await asyncio.sleep(interval)
        await redis.xadd(key, {"chunk": encode_chunk(index)})
    await redis.xadd(key, {"end": "{}"})
    await redis.expire(key, KEPT)


async def do_nothing(ctx: dict[str, Any]) -> None:
    """Be a job, and no more."""


async def say_ready(ctx: dict[str, Any]) -> None:
    """Tell that a worker has started."""
    await ctx["redis"].rpush(READY, os.getpid())


async def wait_to_go(ctx: dict[str, Any]) -> None:
    """Tell that a worker has started, and hold it until it may take jobs."""
    await say_ready(ctx)
    await ctx["redis"].blpop([GO])


class Streams:
    """A worker's settings: stock but for limits that streams would run into."""

    functions: ClassVar = [produce]
    redis_settings = RedisSettings.from_dsn(URL)
    on_startup = say_ready
    max_jobs = 2500
    job_timeout = 4 * 3600


class Jobs:
    """The settings of a worker for jobs that do nothing: stock but for ``max_jobs``."""

    functions: ClassVar = [do_nothing]
    redis_settings = RedisSettings.from_dsn(URL)
    on_startup = wait_to_go
    max_jobs = 100

"""The usual way's edge: every reader tails its stream itself; see :mod:`bench.rivals.usual`.

Run by uvicorn, with ``BENCH_REDIS_URL`` set.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from redis.asyncio import Redis
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.target import Work

URL: Final = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")


async def tail(redis: Redis, stream: str, last: str) -> AsyncIterator[ServerSentEvent]:
    """Yield the entries of a stream as they come, until its end.

    Who has the end and asks for more waits for ever; no client that knows the end does.

    Args:
        redis: While it waits, it has one of this client's connections for itself.
        stream: The stream's id.
        last: The id of the entry after which to begin.
    """
    key = f"stream:{stream}"
    while True:
        for _, entries in await redis.xread({key: last}, block=5000, count=100):
            for last, fields in entries:  # where the next XREAD goes on
                if "end" in fields:
                    yield ServerSentEvent(fields["end"], event="end", id=last)
                    return
                yield ServerSentEvent(fields["chunk"], event="chunk", id=last)


async def enqueue(request: Request) -> str:
    """Enqueue the job that makes a stream; returns the stream's id, which is the job's."""
    work = msgspec.json.decode(await request.body(), type=Work)
    pool: ArqRedis = request.app.state.pool
    job = await pool.enqueue_job("produce", work.events, work.interval, work.delay)
    assert job is not None  # only for an id of our own that exists already
    return job.job_id


async def run(request: Request) -> EventSourceResponse:
    """Answer ``POST /stream``: start a stream and read it."""
    return EventSourceResponse(tail(request.app.state.redis, await enqueue(request), "0"))


async def begin(request: Request) -> JSONResponse:
    """Answer ``POST /streams``: start a stream."""
    return JSONResponse({"id": await enqueue(request)}, status_code=201)


async def read(request: Request) -> EventSourceResponse:
    """Answer ``GET /stream/{stream}``: read a stream, or go on reading it."""
    last = request.headers.get("last-event-id", "0")
    stream = request.path_params["stream"]
    return EventSourceResponse(tail(request.app.state.redis, stream, last))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Connect; arq's pool enqueues, an ordinary client reads."""
    app.state.pool = await create_pool(RedisSettings.from_dsn(URL))
    app.state.redis = Redis.from_url(URL, decode_responses=True)
    yield
    await app.state.redis.aclose()
    await app.state.pool.aclose()


app: Final = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/stream", run, methods=["POST"]),
        Route("/streams", begin, methods=["POST"]),
        Route("/stream/{stream}", read),
    ],
)

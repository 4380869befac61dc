"""The limit: a generator in the web server's own process: ``python -m bench.rivals.in_process``.

No queue, no store, no second process: nothing can be resumed, shared by readers or survive the
server. What a stream costs here is what Starlette, sse-starlette and uvicorn cost, and whatever is
above it is the price of the rest.

Chosen: the fastest parts that one gets by installing them, uvloop and httptools; one server process;
events as sse-starlette's own documentation writes them, each encoded and sent by itself; JSON by
msgspec. Left as it is: sse-starlette's ping every 15 s.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from bench.rivals.chunk import encode_chunk
from bench.rivals.running import Running, run_by_hand
from bench.target import Work


async def generate(work: Work) -> AsyncIterator[ServerSentEvent]:
    """Yield the chunks of a stream."""
    await asyncio.sleep(work.delay)
    for index in range(work.events):
        # Not even sleep(0) without an interval: as fast as it goes, for the limit, means that
        # uvicorn may put many events into one write.
        if index and work.interval:
            await asyncio.sleep(work.interval)
        yield ServerSentEvent(encode_chunk(index).decode(), event="chunk", id=str(index))


async def stream(request: Request) -> EventSourceResponse:
    """Answer ``POST /stream`` with the stream that its body describes."""
    return EventSourceResponse(generate(msgspec.json.decode(await request.body(), type=Work)))


app: Final = Starlette(routes=[Route("/stream", stream, methods=["POST"])])


class InProcess(Running):
    """An async generator behind sse-starlette's response, see the module."""

    name = "generator in the server"
    role = "the limit: no queue, no store"
    can = frozenset({"start", "live", "idle"})

    def _launch(self) -> None:
        self._uvicorn("bench.rivals.in_process:app")


if __name__ == "__main__":
    run_by_hand(InProcess())

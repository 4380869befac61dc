"""Requests in flight, as pure ASGI: a drain waits for them, and none ends with a bare 500."""

import asyncio

from starlette import requests
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from machpay.serve.connection import Connection
from machpay.serve.drain import Drain
from machpay.serve.executions import shutting_down
from machpay.serve.requests import wants_events
from machpay.serve.responses import error_response, retry_later
from machpay.serve.streams import Request, Streams


class InFlight:
    """Counts every request, and answers those that have no answer when a drain is over.

    Args:
        app: The application.
        streams: What counts them.
        drain: Whether the process is on its way out.
    """

    def __init__(self, app: ASGIApp, *, streams: Streams, drain: Drain) -> None:
        self._app = app
        self._streams = streams
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = asyncio.timeout(None)
        with self._streams.serving(Request(Connection(receive), limit)) as request:

            async def noting(message: Message) -> None:
                request.answered = True
                await send(message)

            try:
                async with limit:
                    await self._app(scope, receive, noting)
            except TimeoutError:
                if not limit.expired():
                    raise
            except asyncio.CancelledError:
                # Only the server cancels a whole request: uvicorn at the end of its patience, and
                # answers 500 to one that goes by it.
                if request.answered or not self._drain.draining:
                    raise
            else:
                return
            if not request.answered:
                await _late(requests.Request(scope))(scope, receive, send)


def _late(request: requests.Request) -> Response:
    """Answer a request that this process has no time left for; a status would end an EventSource."""
    if request.method == "GET" and wants_events(request):
        return retry_later(elsewhere=True)
    return error_response(shutting_down())

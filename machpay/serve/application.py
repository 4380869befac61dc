"""The application of a server: Starlette, with request ids, and without requests that mean two things."""

from collections.abc import Awaitable
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from machpay.serve.executions import ApiError
from machpay.serve.request_ids import HEADER, begin
from machpay.serve.responses import error_response

_ONCE: Final = (b"host", b"authorization")
"""Headers that a request has once: of two, a proxy in front of us may have judged the other one."""


class Application(Starlette):
    """Starlette, with request ids: on its own answer to an error that nobody expected, too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the ids around everything: that answer is made outside of all other middleware."""
        return RequestIds(Unambiguous(super().build_middleware_stack()))


class Unambiguous:
    """Refuses requests that two servers might read in two ways, as pure ASGI.

    Of what makes one so, uvicorn's parser refuses what is about lengths; not two hosts, or none (RFC 9112,
    3.2), and not two credentials.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            names = [name for name, _ in scope["headers"] if name in _ONCE]
            wants_host = scope["http_version"] == "1.1"
            if len(names) > len(set(names)) or (wants_host and b"host" not in names):
                message = "A request has one Host, and at most one Authorization."
                refused = error_response(ApiError(400, "bad_request", message))
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)


class RequestIds:
    """Gives every request an id, as pure ASGI.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = begin(scope["headers"])

        def tagging(message: Message) -> Awaitable[None]:
            # No coroutine of its own: it is called for every event of a stream.
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (HEADER, found)]
                message = {**message, "headers": headers}
            return send(message)

        await self._app(scope, receive, tagging)

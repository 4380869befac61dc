"""The application of a server: Starlette, whose every answer has a request id."""

from collections.abc import Awaitable

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from machpay.serve.request_ids import HEADER, begin


class Application(Starlette):
    """Starlette, with request ids: on its own answer to an error that nobody expected, too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the ids around everything: that answer is made outside of all other middleware."""
        return RequestIds(super().build_middleware_stack())


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

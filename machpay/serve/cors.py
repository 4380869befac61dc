"""CORS: who may call from another origin, as pure ASGI.

Starlette's CORSMiddleware answers a preflight of an unknown origin with a plain-text 400; here it
is an answer without permission, which is what the Fetch standard asks for, and every error body
stays JSON.
"""

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALLOW_HEADERS: Final = "last-event-id, authorization, content-type, idempotency-key"
ALLOW_METHODS: Final = "GET, HEAD, POST, PUT, OPTIONS"
EXPOSE_HEADERS: Final = "idempotency-replayed, location, retry-after, x-request-id"
MAX_AGE: Final = 600


class Cors:
    """Answers ``OPTIONS``, and lets the configured origins read what is served.

    Args:
        app: The application.
        origins: Origins that may call, e.g. ``https://app.example``; ``*`` is any. None by default.
            Credentials (cookies) are never allowed: callers authenticate by header or token.
        prefixes: The paths whose ``OPTIONS`` is answered here.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Collection[str] = (),
        prefixes: tuple[str, ...] = ("/v1/", "/api/"),
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = self._allowed(Headers(scope=scope).get("origin"))
        if scope["method"] == "OPTIONS" and f"{scope['path']}/".startswith(self._prefixes):
            await _options(scope, allowed)(scope, receive, send)
        elif not self._origins:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send, allowed))

    def _allowed(self, origin: str | None) -> str | None:
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None


def _options(scope: Scope, allowed: str | None) -> Response:
    response = Response(status_code=204)
    response.headers["Allow"] = _methods(scope)
    response.headers["Access-Control-Allow-Methods"] = ALLOW_METHODS
    response.headers["Access-Control-Allow-Headers"] = ALLOW_HEADERS
    response.headers["Access-Control-Max-Age"] = str(MAX_AGE)
    _allow(response.headers, allowed)
    return response


def _methods(scope: Scope) -> str:
    """Name the methods of what is at a path (RFC 9110, 10.2.1); all that there are, where nothing is."""
    found: set[str] = set()
    for route in scope["app"].routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return ", ".join(sorted({*found, "OPTIONS"})) if found else ALLOW_METHODS


def _with_headers(send: Send, allowed: str | None) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            _allow(headers, allowed)
            if allowed is not None:
                headers["Access-Control-Expose-Headers"] = EXPOSE_HEADERS
        await send(message)

    return wrapped


def _allow(headers: MutableHeaders, allowed: str | None) -> None:
    headers.add_vary_header("Origin")
    if allowed is not None:
        headers["Access-Control-Allow-Origin"] = allowed

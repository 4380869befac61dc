"""HTTP to one server and nobody else: what a worker calls remote skills with."""

from collections.abc import AsyncIterator
from typing import Final

import httpx

LARGEST_ANSWER: Final = 1 << 20
"""The most bytes of an answer that is no stream. (A stream's events are bounded one by one.)"""


class PinnedTransport(httpx.AsyncBaseTransport):
    """Sends requests to one origin, takes no redirect, and no endless answer.

    Nor does it send an API key: that of the environment is for our own edges.

    No proxy either: httpx takes those of the environment only where it makes the transport itself.

    Args:
        base_url: Of the server.
        transport: What carries requests, in place of the network.
    """

    def __init__(self, base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._origin = _origin(httpx.URL(base_url))
        # No bound on connections: a stream holds its own, and must not wait for another one's end.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            httpx.TooManyRedirects: It is answered by a redirect, or for another server.
            httpx.TransportError: As any transport.
        """
        if _origin(request.url) != self._origin:
            raise httpx.TooManyRedirects("another server than the configured one", request=request)
        request.headers.pop("authorization", None)
        # What a small answer unpacks to has no bound.
        request.headers["accept-encoding"] = "identity"
        response = await self._transport.handle_async_request(request)
        if response.has_redirect_location:
            await response.aclose()
            message = f"the server redirects ({response.status_code}), which is refused"
            raise httpx.TooManyRedirects(message, request=request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx.DecodingError("the answer is compressed", request=request)
        if request.headers.get("accept") != "text/event-stream" or not _streams(response):
            assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for mypy
            response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def _streams(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.startswith("text/event-stream")


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        room = LARGEST_ANSWER
        async for data in self._stream:
            room -= len(data)
            if room < 0:
                raise httpx.ReadError(f"the answer is over {LARGEST_ANSWER} bytes")
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port

"""Snapshots as answers: large ones go out in pieces, and not without bound.

A process holds at most :data:`HELD` of bodies that are on their way (or one that is larger), and
builds at most :data:`BUILT_AT_ONCE` more. Who comes when that is used up gets a 503.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.responses import Response

from machpay._wire import encode_payload
from machpay.serve.executions import ExecutionInfo, Unavailable
from machpay.serve.responses import Streamed, json_response
from machpay.serve.streams import OpenStream

PIECE: Final = 128 << 10
"""In bytes: what is sent at once, and what counts as large."""

HELD: Final = 64 << 20
"""In bytes: how much is held of large bodies that their clients have not taken yet."""

BUILT_AT_ONCE: Final = 4

WAIT: Final = 3.0
"""How long a request waits for its turn to be built, in s."""


class Snapshots:
    """Makes the answers of one process."""

    def __init__(self) -> None:
        self._building = asyncio.Semaphore(BUILT_AT_ONCE)
        self._held = 0

    async def build(self, describe: Callable[[], Awaitable[ExecutionInfo]]) -> bytes:
        """Build a body, when it is its turn.

        Args:
            describe: Describes the execution.

        Raises:
            Unavailable: Too many are asked for.
        """
        try:
            async with asyncio.timeout(WAIT):
                await self._building.acquire()
        except TimeoutError:
            raise Unavailable("too many snapshots are being built") from None
        try:
            return encode_payload(await describe())
        finally:
            self._building.release()

    def answer(self, body: bytes, stream: OpenStream) -> Response:
        """Answer with a large body, in pieces; closes the stream when it is sent.

        Raises:
            Unavailable: Too much is on its way.
        """
        if self._held and self._held + len(body) > HELD:
            raise Unavailable("too many large snapshots are being sent")
        stream.stay()
        return _Pieces(self, body, stream)

    def hold(self, size: int) -> None:
        """Count bytes that are held; negative ones no more."""
        self._held += size


class _Pieces(Streamed):
    def __init__(self, snapshots: Snapshots, body: bytes, stream: OpenStream) -> None:
        head = json_response(None).headers
        headers = {**head, "content-length": str(len(body))}
        super().__init__(
            _pieces(body),
            stream,
            headers=headers,
            media_type="application/json",
        )
        snapshots.hold(len(body))
        stream.on_closed(lambda: snapshots.hold(-len(body)))


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
        await asyncio.sleep(0)

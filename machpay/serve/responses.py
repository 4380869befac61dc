"""Answers: JSON, error bodies and SSE streams."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import ClassVar, Final

from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from machpay._endings import LOG_LOST
from machpay._position import START, Cursor, Position
from machpay._wire import HEARTBEAT, encode_payload, frame, retry_line
from machpay.serve.executions import ApiError, Unavailable
from machpay.serve.streams import OpenStream

logger: Final = logging.getLogger("machpay.serve")

RETRY_MS: Final = (200, 1000)
"""How long a client waits, in ms, before it resumes a stream that was cut. Short, since a reader sees
the pause; spread, so that the clients of a dead edge don't come back all at once."""

RETRY_LATER_MS: Final = (1000, 3000)
"""The same for a resume that can't be served right now."""

EVENT_STREAM: Final = "text/event-stream"

AT_A_STRETCH: Final = 8
"""How many blocks are sent until others get their turn. A send suspends only when the client is behind:
without this, a long replay to a fast client keeps the loop to itself, and never even notices that the
client has left."""

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_STREAM_HEADERS: Final = {**_HEADERS, "X-Accel-Buffering": "no"}
_LAST: Final = frozenset({408, 413, 500})
"""Statuses that a connection ends with. 408 and 413 leave a body unread: what follows is no request. Behind
a 500 uvicorn closes it, and a client that is not told would send its next request into that."""
_CLOSE: Final = {"Connection": "close"}

_LARGEST_ATTEMPT: Final = 999_999_999


def json_response(
    payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON.

    Args:
        payload: Anything msgspec can encode; Decimals become exact numbers.
        status: The HTTP status.
        headers: More headers.
    """
    return json_body(encode_payload(payload), status=status, headers=headers)


def json_body(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON that is encoded already.

    Args:
        body: The JSON.
        status: The HTTP status.
        headers: More headers.
    """
    return Response(
        body,
        status,
        headers={**_HEADERS, **(headers or {})},
        media_type="application/json",
    )


def error_response(error: ApiError, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with ``{"error": {"code", "message"}}``, and ``Retry-After`` where there is one.

    Args:
        error: What to say.
        headers: More headers: ``Allow`` of a 405.
    """
    more = dict(headers or {})
    if error.status in _LAST or error.code == "draining":
        more |= _CLOSE
    if error.status == HTTPStatus.UNAUTHORIZED:
        more["WWW-Authenticate"] = "Bearer"  # RFC 9110, 15.5.2
    if error.retry_after is not None:
        more["Retry-After"] = str(error.retry_after)
    body = {"error": {"code": error.code, "message": error.message}}
    return json_response(body, status=error.status, headers=more)


class Streamed(EventSourceResponse):
    """A response that streams: sse-starlette's, with another way to send.

    sse-starlette 3.7 runs four tasks for a response, and a time-out and a log call for each send; it
    holds 42 KB for a reader that waits. Here one task sends, one waits for the client to leave, and
    whether a client takes anything is looked at from outside (:class:`machpay.serve.streams.Streams`).

    Attributes:
        as_read: The blocks are those of the stream's reader: its last one is the last one here.

    Args:
        content: The body's blocks.
        stream: What is open for as long as the response goes on.
        headers: Its headers.
        media_type: Its content type.
        preface: Goes in front of the first block that is no heartbeat, or makes a last one.
        form: What becomes of each block on its way out.
    """

    as_read: ClassVar[bool] = False

    def __init__(
        self,
        content: AsyncIterator[bytes],
        stream: OpenStream,
        *,
        headers: Mapping[str, str],
        media_type: str = EVENT_STREAM,
        preface: bytes = b"",
        form: Callable[[bytes], bytes] | None = None,
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._blocks = content
        self._stream = stream
        self._preface = preface
        self._form = form
        # HTTP/2 has no such header, and uvicorn knows better when it drains.
        del self.headers["Connection"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Stream until the content ends, the client leaves or takes nothing for too long."""
        # The sending has a task of its own, and this one waits for the client to leave: below it lie a
        # dozen calls of middleware, which every wake-up would walk through.
        sending = asyncio.create_task(self._send_all(send))
        limit = asyncio.timeout(None)

        def end(_sent: object) -> None:
            # It refuses when it is over, or about to be, because the client has left meanwhile.
            with contextlib.suppress(RuntimeError):
                limit.reschedule(0.0)

        try:
            async with limit:
                sending.add_done_callback(end)
                self._stream.on_stuck(limit)
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._stream.on_stuck(None)
            try:
                if not sending.done():
                    sending.cancel()
                    await asyncio.wait([sending])
            finally:
                self._stream.close()
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, send: Send) -> None:
        stream, blocks, now = self._stream, self._blocks, asyncio.get_running_loop().time
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        stream.sending_since = now()
        await send(head)
        stream.sending_since = None
        count = 0
        try:
            async for block in blocks:
                if self._form is not None:
                    block = self._form(block)  # noqa: PLW2901 - still that block
                if self._preface and block != HEARTBEAT:
                    block, self._preface = self._preface + block, b""  # noqa: PLW2901 - still that block
                    stream.push = self._push
                stream.sending_since = now()
                if stream.over and self.as_read and not self._preface:
                    await send({"type": "http.response.body", "body": block})
                    stream.sending_since = None
                    return
                await send({"type": "http.response.body", "body": block, "more_body": True})
                stream.sending_since = None
                count += 1
                if count % AT_A_STRETCH == 0:
                    await asyncio.sleep(0)
        except Exception as error:
            if not self.ends_by(error):
                raise
        finally:
            close = getattr(blocks, "aclose", None)
            if close is not None:
                await close()
        stream.sending_since = now()
        await send({"type": "http.response.body", "body": self._preface})
        stream.sending_since = None

    @property
    def _push(self) -> Callable[[bytes], bool]:
        """What sends a block past the task."""
        write, form = self._stream.connection.write, self._form
        return write if form is None else lambda block: write(form(block))

    def ends_by(self, error: Exception) -> bool:  # noqa: ARG002 - for subclasses
        """Tell whether the response is complete although its content broke."""
        return False

    async def hang_up(self, receive: Receive) -> None:
        """Close the connection without the end of the body, behind what is on its way.

        Args:
            receive: As the server gave it.
        """
        self._stream.connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stream.send_timeout):
                await receive()  # the server has noticed, and blames nobody


class EventStream(Streamed):
    """An SSE response.

    It begins with a jittered ``retry:``, inside the first event's block: not in front of a heartbeat,
    and never in a block of its own, since six clients turn such a block into a phantom event. A stream
    that ends before its first event still says ``retry:``, so that a client waits before it comes back.

    The frames ending by an error ends the response on the same boundary as any drain would: the client
    resumes, and whether that works is for the next request to find out.

    Args:
        frames: Blocks that end on an event boundary, or heartbeats.
        stream: As for :class:`Streamed`.
        headers: More headers.
        form: What becomes of each block on its way out.
    """

    as_read: ClassVar[bool] = True

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        stream: OpenStream,
        *,
        headers: Mapping[str, str] | None = None,
        form: Callable[[bytes], bytes] | None = None,
    ) -> None:
        super().__init__(
            frames,
            stream,
            headers={**_STREAM_HEADERS, **(headers or {})},
            preface=retry_line(random.randint(*RETRY_MS)),  # noqa: S311 - spreads, hides nothing
            form=form,
        )

    def ends_by(self, error: Exception) -> bool:
        """Say that it ended early."""
        if isinstance(error, Unavailable):
            logger.warning("a stream ended early: the store cannot be reached")
        else:
            logger.error("a stream ended early", exc_info=error)
        return True


def retry_later(*, elsewhere: bool = False) -> Response:
    """Answer a resume that can't be served right now: come back with the same cursor.

    A status would do for most clients, but a native EventSource dies for good on anything but 200.

    Args:
        elsewhere: On another connection, which a balancer takes to another server.
    """
    retry = retry_line(random.randint(*RETRY_LATER_MS))  # noqa: S311 - spreads, hides nothing
    headers = {**_STREAM_HEADERS, **(_CLOSE if elsewhere else {})}
    return Response(retry, headers=headers, media_type=EVENT_STREAM)


def nothing_follows(method: str) -> Response:
    """Answer a resume from after the terminal event.

    204 makes an EventSource stop for good (WHATWG HTML 9.2). fetch-event-source, which POSTs, would
    repeat its request on a 204 for ever, and stops on a stream that just ends.

    Args:
        method: The request's method.
    """
    if method in ("POST", "PUT"):
        return Response(b"", headers=_STREAM_HEADERS, media_type=EVENT_STREAM)
    return Response(status_code=204, headers=_HEADERS)


def lost_cursor(execution_id: str, after: Position) -> str:
    """Make the cursor of the ``log_lost`` event for a reader that stands beyond the log's end.

    Its seq is 0, which no entry of an attempt has: such a cursor says for itself that the reader
    was told, and it is after the reader's own, so that no client takes the event for a repetition.
    """
    return str(Cursor(execution_id, Position(min(after.attempt + 1, _LARGEST_ATTEMPT), 0)))


def was_told_lost(position: Position) -> bool:
    """Tell whether a cursor's position is one of :func:`lost_cursor`."""
    return position.attempt > 0 and position.seq == 0


def log_lost_frame(execution_id: str, after: Position) -> bytes:
    """Frame the terminal event for a reader that has seen more than the log has."""
    return frame("error", encode_payload(LOG_LOST), lost_cursor(execution_id, after))


def refused_frame(execution_id: str, error: ApiError) -> bytes:
    """Frame the terminal event for a start that is refused once its answer has begun.

    Its cursor is like that of :func:`lost_cursor`: a page that comes back with it is told that nothing
    follows, and does not start again and again what will be refused again and again.
    """
    payload = encode_payload({"code": error.code, "message": error.message})
    return frame("error", payload, lost_cursor(execution_id, START))


async def log_lost(execution_id: str, after: Position) -> AsyncIterator[bytes]:
    """Tell a reader that the log is shorter than what it has seen: one terminal event."""
    yield log_lost_frame(execution_id, after)

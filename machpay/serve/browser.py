"""``/api/stream``: for pages that know nothing of us, as the guide's two snippets.

========  =====================================  =======================================================
method    input                                  answer
========  =====================================  =======================================================
``GET``   the query (for an ``EventSource``)     SSE; chunks have no ``event:``, so ``onmessage`` fires
``POST``  the body, a JSON object                bare text; SSE as above if ``Accept`` asks for it
========  =====================================  =======================================================

``?skill=`` names the skill where there are several and no default, ``?idempotency_key=`` the start,
``?token=`` is a stream token; the rest of the query is the input, read by the skill's input schema. With a cursor both resume, as everywhere: an EventSource repeats its GET after a
drop, and must not start a second execution.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from machpay._position import ORIGIN
from machpay._wire import encode_payload
from machpay.serve.access import Access, narrowed
from machpay.serve.callers import Caller
from machpay.serve.drain import Drain
from machpay.serve.executions import ApiError, Executions, SkillInfo, StartRequest
from machpay.serve.query import read_query
from machpay.serve.requests import (
    MAX_BODY_BYTES,
    read_cursor,
    read_idempotency_key,
    read_object,
    wants_events,
)
from machpay.serve.responses import EventStream, Streamed, json_response
from machpay.serve.routes import Surface
from machpay.serve.streams import OpenStream, Streams
from machpay.serve.turn import Turn

_OURS: Final = frozenset({"skill", "idempotency_key", "last_event_id", "token"})
_NAME: Final = b"event: chunk\n"


class _Text(msgspec.Struct):
    text: str


_chunk: Final = msgspec.json.Decoder(_Text)


def browser_routes(
    executions: Executions,
    *,
    drain: Drain,
    streams: Streams,
    access: Access | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    default_skill: str = "",
) -> list[BaseRoute]:
    """Make the route, for the application that has :func:`machpay.serve.routes.routes`.

    Args:
        executions: As there.
        drain: As there.
        streams: As there.
        access: As there.
        max_body_bytes: As there.
        default_skill: What runs when a request names no skill; empty: the only one there is.
    """
    surface = _Browser(
        default_skill, executions, drain, streams, access or Access(), max_body_bytes
    )
    return [Route("/api/stream", surface.answer, methods=["GET", "POST"])]


class _Browser(Surface):
    def __init__(self, default_skill: str, *surface: Any) -> None:
        super().__init__(*surface)
        self._default_skill = default_skill

    async def answer(self, request: Request) -> Response:
        as_events = request.method != "POST" or wants_events(request)
        show = _show_events if as_events else TextStream
        cursor = read_cursor(request)
        if cursor is not None:
            return await self.resume(request, cursor, show)
        caller = await self.access.acting(request)
        self.refuse_while_draining()
        if request.method == "HEAD":
            return json_response({})
        body: dict[str, Any] = {}
        if request.method == "POST":
            body = await read_object(request, self.max_body_bytes)
        skill = await self._asked_skill(request, caller)
        start = StartRequest(
            skill=skill,
            input=_query_input(request, skill) | body,
            account=caller.account,
            idempotency_key=read_idempotency_key(request),
        )
        start = narrowed(start, caller.token)
        self.refuse_while_draining()
        with self.streams.opening(request.receive) as stream:
            if request.method != "POST":
                return show(self._start_and_read(start, stream), stream)
            started = await self.start_now(start)
            return show(self.executions.read(started.execution_id, ORIGIN, stream), stream)

    async def _start_and_read(self, start: StartRequest, turn: Turn) -> AsyncIterator[bytes]:
        """Start once the headers are out: a proxy may repeat a GET that has no answer yet."""
        try:
            started = await self.start_now(start)
        except ApiError as error:
            if error.retry_after is None:
                payload = encode_payload({"code": error.code, "message": error.message})
                yield b"event: error\ndata: %b\n\n" % payload
            return  # else: nothing but a retry line, and the page comes back
        async for block in self.executions.read(started.execution_id, ORIGIN, turn):
            yield block

    async def _asked_skill(self, request: Request, caller: Caller) -> SkillInfo:
        bound = "" if caller.token is None else caller.token.skill_id
        name = request.query_params.get("skill", bound or self._default_skill)
        if name:
            return await self.known_skill(caller, name)
        skills = await self.executions.skills()
        if len(skills) != 1:
            raise ApiError(400, "bad_request", "Name the skill: ?skill=... .")
        return skills[0]


def _query_input(request: Request, skill: SkillInfo) -> dict[str, Any]:
    given = [pair for pair in request.query_params.multi_items() if pair[0] not in _OURS]
    return read_query(given, skill.input_schema)


def _show_events(frames: AsyncIterator[bytes], stream: OpenStream) -> Response:
    return EventStream(frames, stream, form=_unnamed)


def _unnamed(block: bytes) -> bytes:
    # JSON has no raw line ends: only the line itself can look like this.
    return block.replace(_NAME, b"")


class TextStream(Streamed):
    """The chunks' bare text.

    A stream that does not end with ``end`` is cut, without the last HTTP chunk: in bare text there
    is no other way to say that something is missing, and ``reader.read()`` rejects. So it can't be
    resumed either, and has no turn to go.

    Args:
        frames: Blocks of named events that end on a boundary, or heartbeats.
        stream: As for :class:`machpay.serve.responses.Streamed`.
    """

    def __init__(self, frames: AsyncIterator[bytes], stream: OpenStream) -> None:
        stream.stay()
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        super().__init__(_texts(frames), stream, headers=headers, media_type="text/plain")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the text, or cut it."""
        try:
            await super().__call__(scope, receive, send)
        except _Incomplete:
            await self.hang_up(receive)


class _Incomplete(Exception):
    """The stream did not complete."""


async def _texts(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in frames:
        texts = []
        for event in block.split(b"\n\n"):
            name, _, rest = event.lstrip(b":\n").partition(b"\n")
            if name == b"event: chunk":
                data = rest.removeprefix(b"data: ").partition(b"\n")[0]
                texts.append(_chunk.decode(data).text)
            elif name == b"event: end":
                if texts:
                    yield "".join(texts).encode()
                return
        if texts:
            yield "".join(texts).encode()
    raise _Incomplete

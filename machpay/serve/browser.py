"""``/api/stream``: for pages that know nothing of us, as the guide's two snippets.

========  =====================================  =======================================================
method    input                                  answer
========  =====================================  =======================================================
``GET``   the query (for an ``EventSource``)     SSE; chunks have no ``event:``, so ``onmessage`` fires
``POST``  the body, a JSON object                bare text; SSE as above if ``Accept`` asks for it
========  =====================================  =======================================================

``?skill=`` names the skill where there are several and no default, ``?idempotency_key=`` the start,
``?token=`` is a stream token; the rest of the query is the input, read by the skill's input schema. With a
cursor both resume, as everywhere: an EventSource repeats its GET after a drop, and must not start a second
execution. Where starting takes time, at an edge, a GET has its id before anything is begun, and brings it
back to begin it: see :mod:`machpay.serve.offers`.

An EventSource gives up for good on any status but 200. So what is temporary is no status to it.
"""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from machpay._position import ORIGIN, START, Cursor
from machpay._wire import encode_payload, frame
from machpay.events import StartEvent
from machpay.serve.access import Access, narrowed
from machpay.serve.callers import Caller
from machpay.serve.drain import Drain
from machpay.serve.executions import ApiError, Executions, SkillInfo, StartRequest, Unavailable
from machpay.serve.offers import is_of, is_open, offer
from machpay.serve.query import read_query
from machpay.serve.requests import (
    MAX_BODY_BYTES,
    read_cursor,
    read_idempotency_key,
    read_object,
    wants_events,
)
from machpay.serve.responses import (
    EventStream,
    Streamed,
    json_response,
    refused_frame,
    retry_later,
)
from machpay.serve.routes import Show, Surface
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
    offered_for: float = 0.0,
) -> list[BaseRoute]:
    """Make the route, for the application that has :func:`machpay.serve.routes.routes`.

    Args:
        executions: As there.
        drain: As there.
        streams: As there.
        access: As there.
        max_body_bytes: As there.
        default_skill: What runs when a request names no skill; empty: the only one there is.
        offered_for: For how long an id that was sent before its execution was begun can begin it, in
            s; 0: ids are sent when it has begun, which is as well where that is no matter of time.
    """
    surface = _Browser(
        default_skill,
        offered_for,
        *(executions, drain, streams, access or Access(), max_body_bytes),
    )
    return [Route("/api/stream", surface.answer, methods=["GET", "POST"])]


class _Browser(Surface):
    def __init__(self, default_skill: str, offered_for: float, *surface: Any) -> None:
        super().__init__(*surface)
        self._default_skill = default_skill
        self._offered_for = offered_for

    async def answer(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except (ApiError, Unavailable) as error:
            temporary = isinstance(error, Unavailable) or error.retry_after is not None
            if temporary and request.method == "GET" and wants_events(request):
                return retry_later(elsewhere=self.drain.draining)
            raise

    async def _answer(self, request: Request) -> Response:
        as_events = request.method != "POST" or wants_events(request)
        show = _show_events if as_events else TextStream
        cursor = read_cursor(request)
        if cursor is not None:
            return await self._resume_or_begin(request, cursor, show)
        caller = await self.access.acting(request)
        self.refuse_while_draining()
        if request.method == "HEAD":
            return json_response({})
        body: dict[str, Any] = {}
        if request.method == "POST":
            body = await read_object(request, self.max_body_bytes)
        skill = await self._asked_skill(request, caller)
        start = _start_of(request, caller, skill, body)
        self.refuse_while_draining()
        with self.streams.opening(request.receive, request.scope) as stream:
            if request.method != "POST":
                start, event = self._offer(start)
                return show(self._begin_and_read(start, stream, event), stream)
            started = await self.start_now(start)
            return show(self.executions.read(started.execution_id, ORIGIN, stream), stream)

    async def _resume_or_begin(self, request: Request, cursor: Cursor, show: Show) -> Response:
        """Resume; or begin what was offered, unless it has begun."""
        if (
            request.method != "GET"
            or cursor.position != START
            or not is_open(cursor.execution_id, time.time(), self._offered_for)
        ):
            return await self.resume(request, cursor, show)
        caller = await self.access.acting(request)
        try:
            skill = await self.soon(self._asked_skill(request, caller))
            start = _start_of(request, caller, skill, {})
        except Unavailable:
            return retry_later(elsewhere=self.drain.draining)
        except ApiError:  # the skill is gone: nothing can be begun, but perhaps read
            return await self.resume(request, cursor, show)
        if not is_of(cursor.execution_id, start):
            return await self.resume(request, cursor, show)
        if self.drain.draining:
            return retry_later(elsewhere=True)
        start = structs.replace(start, chosen_id=cursor.execution_id, idempotency_key=None)
        stream = self.streams.open(request.receive, request.scope)
        return show(self._begin_and_read(start, stream), stream)

    def _offer(self, start: StartRequest) -> tuple[StartRequest, bytes]:
        """Give a start an id that its page has before it is made: what goes wrong can be made good.

        Returns:
            The start, and the ``start`` event; or as it is, and nothing, when it has a name already.
        """
        if not self._offered_for or start.idempotency_key is not None:
            return start, b""
        execution_id = offer(start, time.time())
        payload = encode_payload(StartEvent(execution_id=execution_id, skill_id=start.skill.id))
        event = frame("start", payload, str(Cursor(execution_id, START)))
        return structs.replace(start, chosen_id=execution_id), event

    async def _begin_and_read(
        self, start: StartRequest, turn: Turn, first: bytes = b""
    ) -> AsyncIterator[bytes]:
        """Start once the headers are out: a proxy may repeat a GET that has no answer yet."""
        if first:
            yield first
        after = ORIGIN if start.chosen_id is None else START
        try:
            started = await self.start_now(start)
        except ApiError as error:
            if error.retry_after is None:
                yield refused_frame(start.execution_id(), error)
            return  # else: nothing but a retry line, and the page comes back
        async for block in self.executions.read(started.execution_id, after, turn):
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


def _start_of(
    request: Request, caller: Caller, skill: SkillInfo, body: dict[str, Any]
) -> StartRequest:
    start = StartRequest(
        skill=skill,
        input=_query_input(request, skill) | body,
        account=caller.account,
        idempotency_key=read_idempotency_key(request),
        streamed=True,
    )
    return narrowed(start, caller.token)


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

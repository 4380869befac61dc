"""The routes of executions: the same for an edge and for a skill server.

============================================  ====================================================
``POST /v1/skills/{id}/stream``               start, and stream; resumes if a cursor is given
``POST /v1/skills/{id}/executions``           start in the background
``PUT /v1/executions/{id}``                   start under an id that the client chose; stream if
                                              ``Accept`` asks for events
``GET /v1/executions/{id}``                   status, text so far and its cursor
``GET /v1/executions/{id}/stream``            stream, from a cursor if one is given
``POST /v1/executions/{id}/cancel``           end it; again and again, and before its PUT, if you
                                              like
``GET /v1/skills``, ``GET /v1/skills/{id}``   the registry
``GET /healthz``                              whether the process lives
============================================  ====================================================

What is temporary is a 503 to everything but a resume: see :func:`responses.retry_later`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import structs
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from machpay._position import (
    MINTED,
    ORIGIN,
    Cursor,
    is_chosen_id,
    is_execution_id,
    new_execution_id,
)
from machpay.serve.access import Access, knows_skill, may_cancel, narrowed, needs_key
from machpay.serve.callers import Caller
from machpay.serve.drain import Drain
from machpay.serve.executions import (
    RETRY_AFTER,
    ApiError,
    Executions,
    Place,
    SkillInfo,
    Started,
    StartRequest,
    Unavailable,
    execution_not_found,
    shutting_down,
)
from machpay.serve.requests import (
    MAX_BODY_BYTES,
    read_cursor,
    read_idempotency_key,
    read_start,
    wants_events,
)
from machpay.serve.responses import (
    EventStream,
    error_response,
    json_body,
    json_response,
    log_lost,
    nothing_follows,
    retry_later,
    was_told_lost,
)
from machpay.serve.snapshots import PIECE, Snapshots
from machpay.serve.streams import OpenStream, Streams

T = TypeVar("T")

Show: TypeAlias = Callable[[AsyncIterator[bytes], OpenStream], Response]
"""Makes the answer that streams frames."""

LOCATE_WITHIN: Final = 0.3
"""How long a resume at a draining server waits for its answer, in s, before it is sent elsewhere."""


def routes(
    executions: Executions,
    *,
    drain: Drain,
    streams: Streams,
    access: Access | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> list[BaseRoute]:
    """Make the routes; they need :data:`EXCEPTION_HANDLERS` in their application.

    Args:
        executions: What runs and reads executions.
        drain: Whether the process is on its way out.
        streams: The process's open streams.
        access: Who may do what; everybody everything when left out.
        max_body_bytes: The largest request body.
    """
    surface = Surface(executions, drain, streams, access or Access(), max_body_bytes)
    return [
        Route("/v1/skills", surface.list_skills, methods=["GET"]),
        Route("/v1/skills/{skill_id}", surface.show_skill, methods=["GET"]),
        Route("/v1/skills/{skill_id}/stream", surface.start_and_stream, methods=["POST"]),
        Route("/v1/skills/{skill_id}/executions", surface.start, methods=["POST"]),
        Route("/v1/executions/{execution_id}", surface.execution, methods=["GET", "PUT"]),
        Route("/v1/executions/{execution_id}/stream", surface.stream, methods=["GET"]),
        Route("/v1/executions/{execution_id}/cancel", surface.cancel, methods=["POST"]),
        Route("/healthz", _healthz, methods=["GET"]),
    ]


class Surface:
    """What the routes do, each a method that takes a request.

    Args:
        executions: As for :func:`routes`, like the rest.
        drain: Whether the process is on its way out.
        streams: The process's open streams.
        access: Who may do what.
        max_body_bytes: The largest request body.
    """

    def __init__(
        self,
        executions: Executions,
        drain: Drain,
        streams: Streams,
        access: Access,
        max_body_bytes: int,
    ) -> None:
        self.executions = executions
        self.streams = streams
        self.drain = drain
        self._snapshots = Snapshots()
        self.access = access
        self.max_body_bytes = max_body_bytes

    async def list_skills(self, request: Request) -> Response:
        """List the registry."""
        needs_key(await self.access.identify(request))
        return json_response({"skills": await self.executions.skills()})

    async def show_skill(self, request: Request) -> Response:
        """Show one skill."""
        caller = await self.access.identify(request)
        return json_response(await self.known_skill(caller, request.path_params["skill_id"]))

    async def start_and_stream(self, request: Request) -> Response:
        """Start and stream, or resume."""
        cursor = read_cursor(request)
        if cursor is not None:
            # A client that was cut off repeats its request, with its cursor: that must not start,
            # and bill, a second execution.
            return await self.resume(request, cursor)
        return await self._start_and_stream(request)

    async def start(self, request: Request) -> Response:
        """Start in the background."""
        return await self._start_in_background(request)

    async def execution(self, request: Request) -> Response:
        """Describe an execution, or start it: one route, so that a 405 names all its methods."""
        return await (self.put if request.method == "PUT" else self.describe)(request)

    async def put(self, request: Request) -> Response:
        """Start under the id that the client chose: in the background, or stream, or resume."""
        execution_id = request.path_params["execution_id"]
        if not is_chosen_id(execution_id):
            message = f"An id to choose is 1 to 64 of A-Z a-z 0-9 _ ~ -, and not {MINTED!r} first."
            raise ApiError(400, "bad_request", message)
        if not wants_events(request):
            return await self._start_in_background(request, execution_id)
        cursor = _cursor_within(request, execution_id)
        if cursor is not None:
            return await self.resume(request, cursor)
        return await self._start_and_stream(request, execution_id)

    async def cancel(self, request: Request) -> Response:
        """End an execution."""
        caller = may_cancel(await self.access.acting(request))
        execution_id = _execution_id(request)
        await self.access.reach(caller, execution_id)
        await self.executions.cancel(execution_id, caller)
        return json_response({"execution_id": execution_id})

    async def describe(self, request: Request) -> Response:
        """Describe an execution."""
        caller = await self.access.identify(request)
        execution_id = _execution_id(request)
        await self.access.reach(caller, execution_id)
        body = await self._snapshots.build(lambda: self.executions.describe(execution_id, caller))
        if len(body) <= PIECE or request.method == "HEAD":
            return json_body(body)
        with self.streams.opening(request.receive, request.scope) as stream:
            return self._snapshots.answer(body, stream)

    async def stream(self, request: Request) -> Response:
        """Stream an execution."""
        execution_id = _execution_id(request)
        cursor = _cursor_within(request, execution_id) or Cursor(execution_id, ORIGIN)
        return await self.resume(request, cursor)

    async def _start_in_background(
        self, request: Request, chosen_id: str | None = None
    ) -> Response:
        asked = await self._read_start(request, chosen_id)
        started = await self.start_now(asked)
        return _accepted(asked, started, await self.access.lend(asked, started.execution_id))

    async def _read_start(self, request: Request, chosen_id: str | None = None) -> StartRequest:
        caller = await self.access.acting(request)
        self.refuse_while_draining()
        # A chosen id names the start: a key beside it, as some clients add to all they send, does not.
        key = read_idempotency_key(request) if chosen_id is None else None
        asked = await read_start(request, self.max_body_bytes, names_skill=chosen_id is not None)
        skill_id = request.path_params.get("skill_id", asked.skill_id)
        start = StartRequest(
            skill=await self.known_skill(caller, skill_id),
            input=asked.input,
            account=caller.account,
            key=caller.key,
            idempotency_key=key,
            chosen_id=chosen_id,
            options=asked.options,
        )
        return narrowed(start, caller.token)

    async def start_now(self, asked: StartRequest) -> Started:
        """Start, if there is time left for it and its token allows."""
        self.refuse_while_draining()
        if asked.token is not None:
            asked = structs.replace(asked, minted_id=new_execution_id())
        counted = await self.access.admit(asked)
        try:
            return await self.executions.start(asked)
        except (ApiError, Unavailable):
            if counted:
                await self.access.dismiss(asked)
            raise

    async def _start_and_stream(self, request: Request, chosen_id: str | None = None) -> Response:
        # Open before it is started: a process that is told to stop waits for it.
        with self.streams.opening(request.receive, request.scope) as stream:
            asked = await self._read_start(request, chosen_id)
            started = await self.start_now(structs.replace(asked, streamed=True))
            frames = self.executions.read(started.execution_id, ORIGIN, stream)
            return EventStream(frames, stream, headers=_replayed(started))

    def refuse_while_draining(self) -> None:
        """Refuse what would begin something new.

        Raises:
            ApiError: 503 ``draining``.
        """
        if self.drain.draining:
            raise shutting_down()

    async def resume(self, request: Request, cursor: Cursor, show: Show = EventStream) -> Response:
        """Answer a request that has a cursor."""
        execution_id, after = cursor
        try:
            caller = await self.access.identify(request)
            await self.access.reach(caller, execution_id)
            place = await self.soon(self.executions.locate(execution_id, caller, after))
        except Unavailable:
            return retry_later(elsewhere=self.drain.draining)
        if place is Place.AFTER_END or was_told_lost(after):
            return nothing_follows(request.method)
        if self.drain.draining:
            return retry_later(elsewhere=True)
        stream = self.streams.open(request.receive, request.scope)
        if place is Place.BEYOND:
            return show(log_lost(execution_id, after), stream)
        return show(self.executions.read(execution_id, after, stream), stream)

    async def soon(self, look: Coroutine[Any, Any, T]) -> T:
        """Look something up for a resume; at a draining server only if that takes no time.

        Raises:
            Unavailable: That can't be told, or not in time.
        """
        looking = asyncio.ensure_future(look)
        drained = asyncio.ensure_future(self.drain.wait())
        try:
            await asyncio.wait({looking, drained}, return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                # A resume that is overtaken by the end of the drain would get a status, and a
                # native EventSource dies of it.
                patience = min(LOCATE_WITHIN, self.streams.left)
                await asyncio.wait({looking}, timeout=patience)
            if not looking.done():
                raise Unavailable("not before this server ends")
            return looking.result()
        finally:
            looking.cancel()
            drained.cancel()

    async def known_skill(self, caller: Caller, skill_id: str) -> SkillInfo:
        """Find a skill that a caller may know.

        Raises:
            ApiError: 404 ``skill_not_found``.
        """
        skill = await self.executions.skill(skill_id) if knows_skill(caller, skill_id) else None
        if skill is None:
            raise ApiError(404, "skill_not_found", "There is no such skill.")
        return skill


def _accepted(asked: StartRequest, started: Started, token: str | None) -> Response:
    status_url = f"/v1/executions/{started.execution_id}"
    body = {
        "execution_id": started.execution_id,
        "skill_id": asked.skill.id,
        "stream_url": f"{status_url}/stream",
        "status_url": status_url,
    }
    if token is not None:
        body["stream_token"] = token
    return json_response(body, status=202, headers={"Location": status_url, **_replayed(started)})


def _replayed(started: Started) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if started.replayed else {}


def _execution_id(request: Request) -> str:
    execution_id: str = request.path_params["execution_id"]
    if not is_execution_id(execution_id):
        raise execution_not_found()
    return execution_id


def _cursor_within(request: Request, execution_id: str) -> Cursor | None:
    cursor = read_cursor(request)
    if cursor is not None and cursor.execution_id != execution_id:
        raise ApiError(400, "bad_cursor", "The last event id is of another execution.")
    return cursor


async def _healthz(_request: Request) -> Response:
    return json_response({"status": "ok"})


# -- errors: every one of them has the same body


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - for mypy: registered for this class only
    return error_response(error)


async def _unavailable(_request: Request, _error: Exception) -> Response:
    message = "The service cannot do this right now; try again."
    return error_response(ApiError(503, "unavailable", message, retry_after=RETRY_AFTER))


async def _http_error(_request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: no such route, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - for mypy: registered for it only
    status = error.status_code
    code = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    message = f"{HTTPStatus(status).phrase}."
    return error_response(ApiError(status, code, message), headers=error.headers)


async def _disconnected(_request: Request, _error: Exception) -> Response:
    """Answer nobody: the client left while it sent its body."""
    return error_response(ApiError(400, "bad_request", "The body is incomplete."))


async def _internal(_request: Request, _error: Exception) -> Response:
    """Answer what nobody expected; Starlette raises it again, so the server logs it."""
    return error_response(ApiError(500, "internal", "Something went wrong on our side."))


EXCEPTION_HANDLERS: Final[Mapping[Any, Any]] = {
    ApiError: _refused,
    Unavailable: _unavailable,
    HTTPException: _http_error,
    ClientDisconnect: _disconnected,
    Exception: _internal,
}
"""For ``Starlette(exception_handlers=...)``."""

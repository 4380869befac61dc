"""Reading requests: everything a client can get wrong is its own 4xx, never a 500."""

import asyncio
import re
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request

from machpay._options import KEYS, Options
from machpay._position import Cursor
from machpay.serve.executions import ApiError
from machpay.serve.responses import EVENT_STREAM

MAX_BODY_BYTES: Final = 1 << 20

BODY_TIMEOUT: Final = 30.0
"""How long a client may take to send its body, in s."""

MAX_DEPTH: Final = 200
"""How deep JSON may be nested. What a decoder itself takes depends on Python's version, and what one
process could decode another must be able to encode."""

MAX_KEY: Final = 255

_LINGER_BYTES: Final = 8 << 20
"""So much of a body that is refused is read and dropped, so that its sender sees the answer: a
connection that is closed with bytes unread is reset, and the answer lost with it."""

_NO_WEIGHT: Final = re.compile(r"q\s*=\s*0(\.0*)?")


class Asked(NamedTuple):
    """What the body of a start asks for.

    Attributes:
        input: The input; empty when the body has none.
        options: The options.
        skill_id: The skill, where the body names it; else empty.
    """

    input: dict[str, Any]
    options: Options
    skill_id: str


async def read_start(request: Request, max_body_bytes: int, *, names_skill: bool = False) -> Asked:
    """Read the body of a start: ``{"input": {...}}``, and options.

    Args:
        request: The request.
        max_body_bytes: The most bytes to accept, whether or not they were announced.
        names_skill: The body must have a ``skill_id``, too.

    Raises:
        ApiError: 400 ``bad_request``, 408 ``request_timeout``, 413 ``body_too_large``.
    """
    body = await read_object(request, max_body_bytes)
    known = {"input", "skill_id"} if names_skill else {"input"}
    for key in body:
        if key not in known and key not in KEYS:
            raise ApiError(400, "bad_request", f"The body has an unknown key: {key[:64]!r}.")
    value, skill_id = body.get("input", {}), body.get("skill_id", "")
    if not isinstance(value, dict):
        raise ApiError(400, "bad_request", "'input' must be a JSON object.")
    if not isinstance(skill_id, str) or (names_skill and not skill_id):
        raise ApiError(400, "bad_request", "'skill_id' must be the id of a skill.")
    try:
        return Asked(value, Options.of_body(body), skill_id)
    except ValueError as error:
        raise ApiError(400, "bad_request", str(error)) from None


async def read_object(request: Request, max_body_bytes: int) -> dict[str, Any]:
    """Read a body that is a JSON object.

    Args:
        request: The request.
        max_body_bytes: As for :func:`read_start`.

    Raises:
        ApiError: As for :func:`read_start`.
    """
    return _decode(await _read(request, max_body_bytes))


def wants_events(request: Request) -> bool:
    """Tell whether ``Accept`` names event streams; a wildcard does not, since any client sends it.

    RFC 9110, 12.5.1: media types have no case, and one of weight 0 is not acceptable.
    """
    for part in request.headers.get("accept", "").split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        if name == EVENT_STREAM:
            return not any(_NO_WEIGHT.fullmatch(parameter) for parameter in parameters)
    return False


def read_cursor(request: Request) -> Cursor | None:
    """Read where a client wants to go on; ``None`` when it says nothing.

    The header beats the query: an EventSource that reconnects repeats its first URL, old cursor
    and all, and only the header is new.

    Raises:
        ApiError: 400 ``bad_cursor``: malformed, empty, or said twice. Never guessed at: a cursor
            that is taken for "from the start" repeats output, or pays for it twice.
    """
    values = request.headers.getlist("last-event-id")
    values = values or request.query_params.getlist("last_event_id")
    if not values:
        return None
    try:
        (value,) = values
        return Cursor.parse(value)
    except ValueError:
        raise ApiError(400, "bad_cursor", "The last event id is not a cursor.") from None


def read_idempotency_key(request: Request) -> str | None:
    """Read the client's name for a start; ``None`` when it gives none.

    From the header; or from the query, for an EventSource, which can't set headers.

    Raises:
        ApiError: 400 ``bad_request``: not 1 to 255 printable ASCII characters, or said twice.
    """
    values = request.headers.getlist("idempotency-key")
    values = values or request.query_params.getlist("idempotency_key")
    if not values:
        return None
    key = values[0]
    if len(values) > 1 or not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        message = f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters, once."
        raise ApiError(400, "bad_request", message)
    return key


async def _read(request: Request, limit: int) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _read_within(request, limit)
    except TimeoutError:
        raise ApiError(408, "request_timeout", "The body took too long to arrive.") from None


async def _read_within(request: Request, limit: int) -> bytes:
    too_large = ApiError(413, "body_too_large", f"The body is over {limit} bytes.")
    announced = _announced(request)
    if announced > limit and ("expect" in request.headers or announced > _LINGER_BYTES):
        raise too_large
    body = bytearray()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= limit:
            body += chunk
        elif received > _LINGER_BYTES:
            break
    if received > limit:
        raise too_large
    return bytes(body)


def _announced(request: Request) -> int:
    value = request.headers.get("content-length", "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


def _decode(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    # ValueError: DecodeError, and UnicodeDecodeError for bytes that are no UTF-8, which is not one.
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "bad_request", "The body must be a JSON object.")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _too_deep(value):
        raise ApiError(400, "bad_request", f"The body is nested over {MAX_DEPTH} levels deep.")
    return value


def _too_deep(value: object) -> bool:
    """Tell whether a value is nested too deep, level by level: no recursion of ours, either."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return False
    return True

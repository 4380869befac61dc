"""The SDK's HTTP requests, and what it means when they fail. Pure: nothing here does I/O.

=============================================  ===============================================
a request fails by                             then
=============================================  ===============================================
a lost, refused, silent connection             again, with back-off
429, 502, 503, 504, 520 to 524 (a CDN's)       again, not before ``Retry-After``
the same with a ``Retry-After`` over 60 s      :class:`StreamError`, retryable: do not hang
any other status                               :class:`StreamError`
=============================================  ===============================================

Repeating is safe: a resume reads, a start carries an ``Idempotency-Key`` or its execution's id, a
cancel is idempotent.
"""

import re
import secrets
import time
from collections.abc import Mapping
from datetime import date
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import msgspec

from machpay._options import Options
from machpay._position import MINTED, Cursor, is_chosen_id, is_execution_id
from machpay.exceptions import StreamError, error_class

LONGEST_RETRY_AFTER: Final = 60.0
"""In s."""

_RETRIED: Final = frozenset({429, 502, 503, 504, *range(520, 525)})
_UNREPEATABLE: Final = (
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
    httpx.TooManyRedirects,
)
_LONGEST_KEY: Final = 255
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DEFAULTS: Final = Options()

# Compression would hold events back until a block of it is full.
_STREAM_HEADERS: Final = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-store",
}
JSON_HEADERS: Final = {"Accept": "application/json"}
"""Those of a request that is answered with JSON."""


class Request(NamedTuple):
    """An HTTP request.

    Attributes:
        method: ``GET``, ``POST`` or ``PUT``.
        path: From the base URL on, with its slash.
        headers: Beside those that every request has.
        content: The body, if any.
    """

    method: str
    path: str
    headers: dict[str, str]
    content: bytes | None = None


class Refusal(NamedTuple):
    """An answer that is not what was asked for.

    Attributes:
        status: The HTTP status.
        code: The server's stable word, or ``http_<status>`` when a proxy answered.
        message: One sentence for people.
        retryable: Whether the same request may well succeed later.
        retry_after: When, in s from now, if the server says.
        request_id: What the server's log calls the request, if the server says.
    """

    status: int
    code: str
    message: str
    retryable: bool
    retry_after: float | None
    request_id: str | None

    @property
    def repeated(self) -> bool:
        """Whether the client makes the request again by itself."""
        return self.retryable and (self.retry_after or 0.0) <= LONGEST_RETRY_AFTER

    def error(self) -> StreamError:
        """Make the error, for a request outside a stream."""
        return error_class(self.code)(
            self.code,
            self.message,
            retryable=self.retryable,
            status=self.status,
            retry_after=self.retry_after,
            request_id=self.request_id,
        )


class _ErrorDetail(msgspec.Struct):
    code: str
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


def start_request(
    skill_id: str,
    input: Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    execution_id: str | None = None,
    options: Options = _DEFAULTS,
) -> Request:
    """Build the request that starts an execution and streams it.

    Args:
        skill_id: The skill to run.
        input: Its input: a JSON object.
        idempotency_key: 1 to 255 printable ASCII characters; a random one when left out.
        execution_id: The execution's id; the server mints one when left out.
        options: What else is asked for.

    Raises:
        TypeError: ``input`` is no mapping, or has no JSON form.
        ValueError: An id or the key cannot be one, there are both, or text in ``input`` is not
            Unicode.
    """
    quoted = checked_skill_id(skill_id)
    if not isinstance(input, Mapping):
        raise TypeError(f"input must be a mapping, not {type(input).__name__}")
    headers = {**_STREAM_HEADERS, "Content-Type": "application/json"}
    body = {"input": dict(input), **options.body()}
    if execution_id is None:
        headers["Idempotency-Key"] = _checked_key(idempotency_key)
        content = msgspec.json.encode(body)
        return Request("POST", f"/v1/skills/{quoted}/stream", headers, content)
    if idempotency_key is not None:
        raise ValueError("execution_id is a key itself: leave idempotency_key out")
    if not is_chosen_id(execution_id):
        message = (
            f"not an id to choose (1 to 64 of A-Za-z0-9_~-, not {MINTED}...): {execution_id!r}"
        )
        raise ValueError(message)
    content = msgspec.json.encode({"skill_id": skill_id, **body})
    return Request("PUT", f"/v1/executions/{execution_id}", headers, content)


def background_request(start: Request) -> Request:
    """Build the same start, under the same key, that answers with the execution's id.

    Args:
        start: A start that streams, under an idempotency key.
    """
    path = start.path.removesuffix("/stream") + "/executions"
    return start._replace(path=path, headers={**start.headers, **JSON_HEADERS})


def resume_request(execution_id: str, headers: Mapping[str, str]) -> Request:
    """Build the request that reads an execution's stream.

    Args:
        execution_id: The execution.
        headers: Where to go on, from :meth:`machpay._stream_cursor.StreamCursor.headers`.
    """
    path = f"/v1/executions/{execution_id}/stream"
    return Request("GET", path, {**_STREAM_HEADERS, **headers})


def create_request(start: Request) -> Request:
    """Build the same start that streams nothing: it answers with the execution's id.

    Args:
        start: A start that streams.
    """
    if start.method == "PUT":
        return start._replace(headers={**start.headers, **JSON_HEADERS})
    return background_request(start)


def skill_request(skill_id: str) -> Request:
    """Build the request that describes a skill.

    Raises:
        ValueError: It cannot be a skill's id.
    """
    return Request("GET", f"/v1/skills/{checked_skill_id(skill_id)}", JSON_HEADERS)


def usage_request(
    start: date | str | None, end: date | str | None, skill_id: str | None, group_by: str | None
) -> Request:
    """Build the request that sums the ledger.

    Args:
        start: The first day, or its ISO form; the server's choice when left out.
        end: The last day.
        skill_id: Only this skill.
        group_by: ``"day"`` or ``"skill"``.

    Raises:
        ValueError: A day is none, or ``group_by`` is something else.
    """
    query = {"from": _checked_day("start", start), "to": _checked_day("end", end)}
    if group_by not in (None, "day", "skill"):
        raise ValueError(f'group_by is "day" or "skill", not {group_by!r}')
    query |= {"skill": skill_id, "group_by": group_by}
    given = urlencode({key: value for key, value in query.items() if value is not None})
    return Request("GET", f"/v1/usage?{given}" if given else "/v1/usage", JSON_HEADERS)


def skills_request() -> Request:
    """Build the request that lists the skills."""
    return Request("GET", "/v1/skills", JSON_HEADERS)


def execution_request(execution_id: str) -> Request:
    """Build the request that describes an execution.

    Raises:
        ValueError: It is not an execution id.
    """
    return Request("GET", f"/v1/executions/{checked_execution_id(execution_id)}", JSON_HEADERS)


def cancel_request(execution_id: str) -> Request:
    """Build the request that stops an execution.

    Raises:
        ValueError: It is not an execution id.
    """
    path = f"/v1/executions/{checked_execution_id(execution_id)}/cancel"
    return Request("POST", path, JSON_HEADERS)


def checked_skill_id(text: str) -> str:
    """Return a skill's id that is fit for a path.

    Raises:
        ValueError: It cannot be one.
    """
    if not text.strip("."):
        # An HTTP client resolves "." and ".." in a path.
        raise ValueError(f"not a skill id: {text!r}")
    return quote(text, safe="")


def _checked_day(name: str, day: date | str | None) -> str | None:
    if day is None:
        return None
    try:
        # A datetime is a date, too: which day it is elsewhere is not ours to guess.
        return (date.fromisoformat(day) if isinstance(day, str) else day).strftime("%Y-%m-%d")
    except ValueError:
        raise ValueError(f"{name} is a day as 2026-11-24, not {day!r}") from None


def _checked_key(key: str | None) -> str:
    if key is None:
        return secrets.token_hex(16)
    if not (0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
        raise ValueError("idempotency_key must be 1 to 255 printable ASCII characters")
    return key


def checked_execution_id(text: str) -> str:
    """Return an execution id that is fit for a path.

    Raises:
        ValueError: It cannot be one.
    """
    if not is_execution_id(text):
        raise ValueError(f"not an execution id: {text!r}")
    return text


def checked_cursor(execution_id: str, text: str | None) -> Cursor | None:
    """Read a cursor that a caller gives.

    Raises:
        ValueError: It is not a cursor, or one of another execution.
    """
    if text is None:
        return None
    cursor = Cursor.parse(text)
    if cursor.execution_id != execution_id:
        raise ValueError(f"the cursor {text!r} is not one of execution {execution_id!r}")
    return cursor


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> Refusal:
    """Read an answer that is not what was asked for.

    Args:
        status: The HTTP status.
        headers: The response's, with lower-case names or case-insensitive.
        body: ``{"error": {"code", "message"}}`` from our servers, anything from a proxy.
        now: Seconds since the epoch; the clock's when left out.
    """
    retry_after = _retry_after(headers.get("retry-after"), time.time() if now is None else now)
    retryable = status in _RETRIED
    if status < 400:
        kind = headers.get("content-type", "none")
        code, message = "bad_response", f"HTTP {status} with content type {kind[:100]!r}"
    else:
        try:
            detail = msgspec.json.decode(body, type=_ErrorBody).error
            code, message = detail.code, detail.message
        except (ValueError, RecursionError):
            text = " ".join(body[:200].decode(errors="replace").split())
            code, message = f"http_{status}", text or f"HTTP {status}"
    known = headers.get("x-request-id", "")
    request_id = known if _REQUEST_ID.fullmatch(known) else None
    return Refusal(status, code, message, retryable, retry_after, request_id)


def is_repeated(error: Exception) -> bool:
    """Tell whether a request that failed without an answer is worth making again."""
    return not isinstance(error, _UNREPEATABLE)


def _retry_after(value: str | None, now: float) -> float | None:
    """Read ``Retry-After``, in s from now (RFC 9110, 10.2.3: digits, or a date)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None

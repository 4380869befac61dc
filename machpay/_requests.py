"""The SDK's HTTP requests and what their answers mean. Pure: nothing here does I/O.

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

import secrets
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from machpay._options import Options
from machpay._position import MINTED, Cursor, is_chosen_id, is_execution_id
from machpay._results import Execution, SkillInfo
from machpay.exceptions import StreamError

LONGEST_RETRY_AFTER: Final = 60.0
"""In s."""

_RETRIED: Final = frozenset({429, 502, 503, 504, *range(520, 525)})
_UNREPEATABLE: Final = (
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
    httpx.TooManyRedirects,
)
_LONGEST_KEY: Final = 255
_DEFAULTS: Final = Options()

# Compression would hold events back until a block of it is full.
_STREAM_HEADERS: Final = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-store",
}
_JSON_HEADERS: Final = {"Accept": "application/json"}

_T = TypeVar("_T")


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
    """

    status: int
    code: str
    message: str
    retryable: bool
    retry_after: float | None

    @property
    def repeated(self) -> bool:
        """Whether the client makes the request again by itself."""
        return self.retryable and (self.retry_after or 0.0) <= LONGEST_RETRY_AFTER

    def error(self) -> StreamError:
        """Make the error, for a request outside a stream."""
        return StreamError(self.code, self.message, retryable=self.retryable, status=self.status)


class _ErrorDetail(msgspec.Struct):
    code: str
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


class _SkillList(msgspec.Struct):
    skills: list[SkillInfo]


class _Started(msgspec.Struct):
    execution_id: str


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
    if not skill_id.strip("."):
        # An HTTP client resolves "." and ".." in a path.
        raise ValueError(f"not a skill id: {skill_id!r}")
    if not isinstance(input, Mapping):
        raise TypeError(f"input must be a mapping, not {type(input).__name__}")
    headers = {**_STREAM_HEADERS, "Content-Type": "application/json"}
    body = {"input": dict(input), **options.body()}
    if execution_id is None:
        headers["Idempotency-Key"] = _checked_key(idempotency_key)
        path = f"/v1/skills/{quote(skill_id, safe='')}/stream"
        return Request("POST", path, headers, msgspec.json.encode(body))
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
    return start._replace(path=path, headers={**start.headers, **_JSON_HEADERS})


def resume_request(execution_id: str, headers: Mapping[str, str]) -> Request:
    """Build the request that reads an execution's stream.

    Args:
        execution_id: The execution.
        headers: Where to go on, from :meth:`machpay._stream_cursor.StreamCursor.headers`.
    """
    path = f"/v1/executions/{execution_id}/stream"
    return Request("GET", path, {**_STREAM_HEADERS, **headers})


def skills_request() -> Request:
    """Build the request that lists the skills."""
    return Request("GET", "/v1/skills", _JSON_HEADERS)


def execution_request(execution_id: str) -> Request:
    """Build the request that describes an execution.

    Raises:
        ValueError: It is not an execution id.
    """
    return Request("GET", f"/v1/executions/{checked_execution_id(execution_id)}", _JSON_HEADERS)


def cancel_request(execution_id: str) -> Request:
    """Build the request that stops an execution.

    Raises:
        ValueError: It is not an execution id.
    """
    path = f"/v1/executions/{checked_execution_id(execution_id)}/cancel"
    return Request("POST", path, _JSON_HEADERS)


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
    return Refusal(status, code, message, retryable, retry_after)


def is_repeated(error: Exception) -> bool:
    """Tell whether a request that failed without an answer is worth making again."""
    return not isinstance(error, _UNREPEATABLE)


def read_skills(body: bytes) -> list[SkillInfo]:
    """Decode the list of skills.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, _SkillList).skills


def read_started(body: bytes) -> str:
    """Decode the answer to a start in the background: the execution's id.

    Raises:
        StreamError: ``bad_response``.
    """
    execution_id = _decode(body, _Started).execution_id
    if not is_execution_id(execution_id):
        raise StreamError("bad_response", f"not an execution id: {execution_id[:80]!r}")
    return execution_id


def read_execution(body: bytes) -> Execution:
    """Decode an execution.

    Raises:
        StreamError: ``bad_response``.
    """
    return _decode(body, Execution)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise StreamError("bad_response", f"the answer cannot be decoded: {error}") from error


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

"""A strict checker of SSE bodies: the one wire form that we promise, byte for byte.

It is no SSE parser: what any conforming parser would forgive is a failure here.

    body      := (heartbeat | block)*          nothing after the terminal event
    heartbeat := ":" LF
    block     := [ "retry: " digits LF ]       only in the first block
                 [ "event: " name LF ]         left out only where ``unnamed`` says so
                 "data: " one line of JSON LF
                 "id: " cursor LF
                 LF
"""

import json
import re
from typing import Any, NamedTuple

from machpay._position import Cursor

TERMINAL = ("end", "error")

_retry = re.compile(rb"retry: ([1-9][0-9]{0,5})")
_payload_keys: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "start": ({"executionId": str, "skillId": str}, {"attempt": int}),
    "chunk": ({"text": str, "index": int, "timestamp": int}, {"data": object}),
    "end": ({"tokensUsed": int, "costUsd": (int, float), "durationMs": int}, {}),
    "error": ({"code": str, "message": str}, {"retryable": bool}),
}


class WireError(AssertionError):
    """A body is not in our wire form."""


class WireEvent(NamedTuple):
    """One event, as it was sent.

    Attributes:
        event: Its name; ``chunk`` where the wire has none.
        data: Its payload, decoded.
        id: Its cursor.
        raw: The block's bytes.
        retry: The block's reconnection time in ms, if any.
    """

    event: str
    data: dict[str, Any]
    id: str
    raw: bytes
    retry: int | None = None


def check(body: bytes, *, complete: bool = True, unnamed: bool = False) -> list[WireEvent]:
    """Check a whole response body.

    Args:
        body: All bytes of it.
        complete: True: it has its terminal event. False: it was closed early, by a drain say; it
            must end on a boundary, and has no terminal event.
        unnamed: Chunks, and only they, have no ``event:`` line.

    Returns:
        The events in order.

    Raises:
        WireError: It deviates.
    """
    events = _events(body, unnamed=unnamed)
    _check_order(events)
    if complete and (not events or events[-1].event not in TERMINAL):
        raise WireError("the body has no terminal event")
    if not complete and events and events[-1].event in TERMINAL:
        raise WireError("the body has a terminal event")
    return events


def check_prefix(received: bytes, *, unnamed: bool = False) -> list[WireEvent]:
    """Check what was received of a body that is still open, or was cut; the torn end is ignored."""
    boundary = received.rfind(b"\n\n")
    return _events(received[: boundary + 2] if boundary >= 0 else b"", unnamed=unnamed)


def check_retry_only(body: bytes) -> int:
    """Check the answer to a resume that has to wait; returns the reconnection time in ms."""
    match = _retry.fullmatch(body[:-1]) if body.endswith(b"\n") else None
    if match is None:
        raise WireError(f"not one retry line: {body[:80]!r}")
    return int(match[1])


def _events(body: bytes, *, unnamed: bool) -> list[WireEvent]:
    text = _text(body)
    events: list[WireEvent] = []
    block: list[bytes] = []
    for line in text[:-1].split(b"\n") if text else []:
        if block:
            if line:
                block.append(line)
                continue
            if events and events[-1].event in TERMINAL:
                raise WireError("an event follows the terminal event")
            events.append(_event(block, first=not events, unnamed=unnamed))
            block = []
        elif line == b"":
            raise WireError("a blank line that ends no event")
        elif line == b":":
            if events and events[-1].event in TERMINAL:
                raise WireError("a heartbeat follows the terminal event")
        elif line.startswith(b":"):
            raise WireError(f"a comment that says something: {line[:80]!r}")
        else:
            block.append(line)
    if block:
        raise WireError(f"the body does not end on a boundary: {block[0][:80]!r}")
    return events


def _text(body: bytes) -> bytes:
    try:
        decoded = body.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"not UTF-8: {error}") from None
    for character, name in (
        ("\r", "CR"),
        ("\0", "NUL"),
        ("\ufeff", "BOM"),
        ("\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\u2029", "U+2029"),
    ):
        if character in (decoded[:1] if name == "BOM" else decoded):
            raise WireError(f"a raw {name}")
    if body and not body.endswith(b"\n"):
        raise WireError("the last line is torn")
    return body


def _event(block: list[bytes], *, first: bool, unnamed: bool) -> WireEvent:
    lines = list(block)
    retry = None
    if lines[0].startswith(b"retry:"):
        match = _retry.fullmatch(lines.pop(0))
        if not first or match is None:
            raise WireError(f"a retry line out of place or form: {block[0][:80]!r}")
        retry = int(match[1])
    name = "chunk"
    if lines and lines[0].startswith(b"event:"):
        name = _value(lines.pop(0), b"event").decode()
        if name not in _payload_keys or (unnamed and name == "chunk"):
            raise WireError(f"an event must not be named {name!r} here")
    elif not unnamed:
        raise WireError(f"no event line where it belongs: {block!r:.200}")
    if len(lines) != 2:
        raise WireError(f"not data, then id, then blank: {block!r:.200}")
    data, cursor = _value(lines[0], b"data"), _value(lines[1], b"id").decode()
    return WireEvent(name, _payload(name, data), cursor, b"\n".join([*block, b"", b""]), retry)


def _value(line: bytes, field: bytes) -> bytes:
    prefix = field + b": "
    if not line.startswith(prefix) or line[len(prefix) :][:1] in (b"", b" "):
        raise WireError(f"not a {field.decode()} line: {line[:80]!r}")
    return line[len(prefix) :]


def _payload(name: str, data: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(data, parse_constant=_refuse, object_pairs_hook=_unique)
    except ValueError as error:
        raise WireError(f"data is not one line of JSON: {error}") from None
    if not isinstance(payload, dict):
        raise WireError(f"a payload is an object, not {data[:80]!r}")
    required, optional = _payload_keys[name]
    for key, kind in required.items():
        value = payload.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise WireError(f"{name}.{key} is missing or of the wrong type: {data[:200]!r}")
    for key, value in payload.items():
        if key in required:
            continue
        if key not in optional or not isinstance(value, optional[key]):
            raise WireError(f"{name} has no such {key}: {data[:200]!r}")
    return payload


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _check_order(events: list[WireEvent]) -> None:
    last: Cursor | None = None
    index: int | None = None
    for event in events:
        try:
            cursor = Cursor.parse(event.id)
        except ValueError as error:
            raise WireError(str(error)) from None
        if last is not None and cursor.execution_id != last.execution_id:
            raise WireError(f"{cursor} is of another execution than {last}")
        if last is not None and cursor.position <= last.position:
            raise WireError(f"{cursor} does not follow {last}")
        last = cursor
        if event.event == "start":
            index = -1
        elif event.event == "chunk":
            if index is not None and event.data["index"] != index + 1:
                raise WireError(f"index {event.data['index']} does not follow {index}")
            index = event.data["index"]

"""How events become bytes: JSON payloads and SSE frames, encoded once, here.

The frame is the one form that every client we measured reads right:

* ``event:`` (if any), one ``data:`` line, ``id:`` *last*, LF line ends, a blank line. With ``id:``
  first, three popular clients move their cursor before the event is complete and lose an event
  that was cut in half.
* U+0085, U+2028 and U+2029 are escaped: some clients split lines there, and msgspec writes them
  raw.
* A heartbeat is a bare comment line *without* a blank line after it: a blank line there makes six
  clients emit a phantom event.

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from typing import Final

import msgspec

HEARTBEAT: Final = b":\n"
"""A comment line: keeps proxies from closing a silent stream, says nothing to a client."""

FRAME: Final = b"event: %b\ndata: %b\nid: %b\n\n"
"""A named event's frame: its name, payload and cursor."""

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def encode_payload(payload: object) -> bytes:
    """Encode an event's payload as one line of JSON that no SSE parser can misread.

    Args:
        payload: Anything msgspec can encode; Decimals become exact JSON numbers.

    Raises:
        TypeError: ``payload`` holds something that has no JSON form.
        UnicodeEncodeError: A string in it holds a lone surrogate (see :func:`well_formed`).
    """
    data = _encoder.encode(payload)
    # Only these three, and only inside strings: JSON has no other place for them. The common case,
    # pure ASCII, is left after one scan.
    if not data.isascii():
        data = (
            data.replace(b"\xc2\x85", b"\\u0085")
            .replace(b"\xe2\x80\xa8", b"\\u2028")
            .replace(b"\xe2\x80\xa9", b"\\u2029")
        )
    return data


def frame(event: str, data: bytes, cursor: str) -> bytes:
    """Frame one event for the wire.

    Args:
        event: The event's name.
        data: The payload, from :func:`encode_payload`.
        cursor: The event's cursor, from :class:`machpay._position.Cursor`.
    """
    return FRAME % (event.encode(), data, cursor.encode())


def retry_line(milliseconds: int) -> bytes:
    """Say how long a client should wait before it reconnects.

    Goes in front of an event's own lines, inside its block, never into a block of its own.
    """
    return b"retry: %d\n" % milliseconds


def well_formed(text: str) -> str:
    r"""Make any str encodable: surrogate pairs are joined, lone surrogates become U+FFFD.

    Handlers can yield such text: ``json.loads('"\\ud83d"')`` is all it takes.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

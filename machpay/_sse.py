"""Server-sent events, decoded: bytes in, events out, no I/O.

Source of every rule: WHATWG HTML, section 9.2.5 "Parsing an event stream" and section 9.2.6
"Interpreting an event stream".

Three of them are easily missed, and published decoders do miss them:

* Whether a block is dispatched depends on its ``data`` lines alone. A decoder that also looks at
  the last event id, which is sticky, emits a phantom event after every heartbeat.
* An ``id`` counts when its block is complete, not when its line is: a block that was cut in half
  must not move the cursor.
* A line ends at CR, LF or CRLF and nowhere else: ``str.splitlines`` also splits at U+2028, U+2029,
  U+0085 and five more, which JSON may hold.

Deviation: a block is bounded (``max_event_bytes``); the standard knows no bound.
"""

from typing import Final, NamedTuple

__all__ = ["MAX_EVENT_BYTES", "EventTooLargeError", "SSEDecoder", "ServerSentEvent"]

MAX_EVENT_BYTES: Final = 8 << 20

_BOM: Final = b"\xef\xbb\xbf"
_DIGITS: Final = frozenset(b"0123456789")
_RETRY_DIGITS: Final = 16
"""How many are read: more ms than anybody waits, and far from where ``int()`` refuses a text."""


class ServerSentEvent(NamedTuple):
    """One dispatched event.

    Attributes:
        event: Its type; ``"message"`` when the block names none.
        data: Its ``data`` lines, joined with LF.
        id: The last event id of the stream when the event was dispatched: the block's own, or one
            from before, since ids are sticky.
    """

    event: str
    data: str
    id: str


class EventTooLargeError(ValueError):
    """An event is larger than the decoder may buffer. The decoder is of no use afterwards.

    Attributes:
        events: The events of the same :meth:`SSEDecoder.feed` that were complete before it.
    """

    def __init__(self, limit: int, events: list[ServerSentEvent]) -> None:
        super().__init__(f"an event of the stream is larger than {limit} bytes")
        self.events = events


class SSEDecoder:
    """Decodes one connection's bytes, in whatever pieces they arrive.

    A block that is unfinished when the connection ends is never dispatched: use a new decoder for
    the next connection. Costs time linear in the input, however it is cut.

    Args:
        last_event_id: The id that the stream begins with: the one the request carried, if any.
        max_event_bytes: The most bytes that one block's lines may have.

    Attributes:
        last_event_id: The id of the last block that was complete, with data or without.
        retry: The reconnection time that the server asked for, in ms; ``None`` before it did.
        heartbeats: How many comments came: the server says that it lives, and nothing else.
    """

    def __init__(self, *, last_event_id: str = "", max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.heartbeats = 0
        self._max_event_bytes = max_event_bytes
        self._head: bytes | None = b""
        self._after_cr = False
        self._line = bytearray()
        self._block_bytes = 0
        self._event = b""
        self._data: list[bytes] = []
        self._id = last_event_id

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes of the connection.

        Args:
            chunk: Any number of bytes, cut anywhere.

        Returns:
            The events that they complete, in order.

        Raises:
            EventTooLargeError: A block is larger than ``max_event_bytes``.
        """
        chunk = self._without_terminator_rest(self._without_bom(chunk))
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if lines and self._line:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line.clear()
        events: list[ServerSentEvent] = []
        for line in lines:
            if line:
                self._interpret(line, events)
            else:
                self._dispatch(events)
        self._line += rest
        self._bound(len(self._line), events)
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        """Drop one byte order mark, only at the start of the stream; it may come in pieces."""
        if self._head is None:
            return chunk
        self._head += chunk
        if _BOM.startswith(self._head):
            return b""
        chunk, self._head = self._head, None
        return chunk.removeprefix(_BOM)

    def _without_terminator_rest(self, chunk: bytes) -> bytes:
        """Drop the LF of a CRLF whose CR, which ended the line, came in the chunk before."""
        if self._after_cr and chunk:
            self._after_cr = False
            return chunk.removeprefix(b"\n")
        return chunk

    def _bound(self, line_bytes: int, events: list[ServerSentEvent]) -> None:
        if self._block_bytes + line_bytes > self._max_event_bytes:
            raise EventTooLargeError(self._max_event_bytes, events)

    def _interpret(self, line: bytes, events: list[ServerSentEvent]) -> None:
        self._bound(len(line), events)
        name, _, value = line.partition(b":")
        if not name:
            # A comment. Heartbeats are comments without a blank line, so a quiet stream gathers
            # them in one block for days: they must not count towards its size.
            self.heartbeats += 1
            return
        self._block_bytes += len(line)
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"retry" and value and _DIGITS.issuperset(value):
            self.retry = int(value.lstrip(b"0")[:_RETRY_DIGITS] or b"0")

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        self.last_event_id = self._id
        if self._data:
            data = b"\n".join(self._data).decode(errors="replace")
            event = self._event.decode(errors="replace") or "message"
            events.append(ServerSentEvent(event, data, self._id))
            self._data.clear()
        self._event = b""
        self._block_bytes = 0

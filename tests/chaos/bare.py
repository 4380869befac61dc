"""HTTP/1.1 and server-sent events from scratch, over asyncio streams: nothing of our SDK in here.

Just enough for one request a connection, and as the standards say it: RFC 9112 for HTTP, WHATWG
HTML section 9.2 for the events.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple


class Answer(NamedTuple):
    """The head of a response.

    Attributes:
        status: The status.
        headers: The headers, names in lower case.
    """

    status: int
    headers: dict[str, str]


class Torn(Exception):
    """The connection ended in the middle of a response."""


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Answer:
    """Send a request and read the head of its answer.

    Raises:
        OSError: The connection is lost.
        Torn: It ended before the head did.
    """
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise Torn from error
    status, *fields = head.decode("latin-1").splitlines()
    pairs = (field.partition(":") for field in fields if field)
    return Answer(int(status.split()[1]), {name.lower(): v.strip() for name, _, v in pairs})


async def content(reader: asyncio.StreamReader, answer: Answer) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a body as they come; returns at its proper end.

    Raises:
        OSError: The connection is lost.
        Torn: It ended before the body did.
    """
    if answer.status == 204:
        return
    if answer.headers.get("transfer-encoding") != "chunked":
        try:
            yield await reader.readexactly(int(answer.headers.get("content-length", "0")))
        except asyncio.IncompleteReadError as error:
            raise Torn from error
        return
    while True:
        try:
            left = int(await reader.readuntil(b"\r\n"), 16)
            if left == 0:
                await reader.readexactly(2)
                return
            while left:
                piece = await reader.read(left)
                if not piece:
                    raise Torn
                left -= len(piece)
                yield piece
            await reader.readexactly(2)
        except asyncio.IncompleteReadError as error:
            raise Torn from error


class Event(NamedTuple):
    """One dispatched event.

    Attributes:
        id: The last event id when it was dispatched.
        event: Its type.
        data: Its data.
    """

    id: str
    event: str
    data: str


class EventParser:
    """Turns bytes into events; what is unfinished at the end is never dispatched.

    Args:
        last_id: The last event id so far.

    Attributes:
        retry: The reconnection time that the server asked for, in ms; ``None``: it did not.
    """

    def __init__(self, last_id: str = "") -> None:
        self.retry: int | None = None
        self._id = last_id
        self._rest = b""
        self._type = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, cut anywhere; return the events that they complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r")))]

    def _line(self, line: bytes) -> Event | None:
        if line:
            self._field(*line.decode().partition(":"))
            return None
        event = Event(self._id, self._type or "message", "\n".join(self._data))
        complete = bool(self._data)
        self._type, self._data = "", []
        return event if complete else None

    def _field(self, name: str, _colon: str, value: str) -> None:
        value = value.removeprefix(" ")
        match name:
            case "id":
                self._id = value
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value)

"""Readers that share no code with the SDK: they hop between edges, tear connections, and write down
every byte.
"""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final
from urllib.parse import quote

from tests.chaos.bare import Answer, EventParser, Torn, ask, content
from tests.chaos.history import Connection, Seen, Transcript

_TERMINAL: Final = ("end", "error")

_SILENCE: Final = 8.0
"""Four heartbeats: a connection that is silent for longer, in s, is dead, and should not be."""

_CONNECT: Final = 5.0
_LONGEST_RETRY: Final = 3.0


class Doors:
    """Where edges are reached.

    Args:
        fronts: Edge -> the port of the proxy in front of it.
        ports: Edge -> its own port.
    """

    def __init__(self, fronts: Mapping[str, int], ports: Mapping[str, int]) -> None:
        self.fronts = dict(fronts)
        self._ports = dict(ports)

    @asynccontextmanager
    async def enter(
        self, edge: str, *, narrow: bool = False
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect to an edge; leaving tears the connection.

        Args:
            edge: The edge.
            narrow: With as little room for unread bytes as there can be, and no proxy that would
                take them instead.

        Raises:
            OSError: Nobody answers.
        """
        # So that an abort is a reset and not a polite goodbye.
        raw = socket.socket()
        raw.setblocking(False)
        try:
            if narrow:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            port = (self._ports if narrow else self.fronts)[edge]
            async with asyncio.timeout(_CONNECT):
                await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
            limit = 4096 if narrow else 1 << 16
            reader, writer = await asyncio.open_connection(sock=raw, limit=limit)
        except BaseException:
            raw.close()
            raise
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


class RawReader:
    """Reads one execution to its end, over as many connections as it takes.

    Args:
        doors: Where edges are.
        transcript: Where to write down what is seen.
        dice: Decides what is left to chance.
        stuck: For how long it takes nothing on its first connection, in s; 0: it reads on.
        start: Method, path, headers and body of what starts it; ``None``: it has been started.
        execution_id: The execution, where it has been started.
        after: The cursor to begin after.
        on_known: Called once with the execution's id, when this reader starts it.
    """

    def __init__(
        self,
        doors: Doors,
        transcript: Transcript,
        dice: random.Random,
        *,
        stuck: float = 0.0,
        start: tuple[str, str, dict[str, str], bytes] | None = None,
        execution_id: str = "",
        after: str = "",
        on_known: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._doors = doors
        self._transcript = transcript
        self._dice = dice
        self._stuck = stuck
        self._start = start
        self._cursor = after
        self._retry = 0.5
        self._execution_id = execution_id
        self._on_known = on_known

    async def read(self) -> None:
        """Read to the terminal event; once it has it, see that nothing follows it."""
        while not (self._transcript.finished or self._transcript.problem):
            edge = self._dice.choice(list(self._doors.fronts))
            connection = Connection(edge, time.time(), self._cursor)
            self._transcript.connections.append(connection)
            narrow, self._stuck = self._stuck, 0.0
            try:
                async with self._doors.enter(edge, narrow=narrow > 0) as (reader, writer):
                    await self._one(connection, reader, writer, narrow)
            except (OSError, Torn):
                connection.ended = "reset"
            if not self._transcript.finished:
                await asyncio.sleep(self._dice.uniform(0.1, 1.0) * min(self._retry, _LONGEST_RETRY))
        if self._transcript.finished and self._dice.random() < 0.3:
            await self._look_beyond()

    async def _one(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stuck: float,
    ) -> None:
        method, path, headers, body = self._request()
        answer = await ask(reader, writer, method, path, headers, body)
        connection.status = answer.status
        if answer.status != 200:
            await self._refused(connection, reader, answer)
            return
        # Now and then at a byte of its own choice, in the middle of an event as like as not.
        budget = self._dice.randint(1, 4000) if self._dice.random() < 0.4 else None
        parser = EventParser(self._cursor)
        async with aclosing(content(reader, answer)) as received:
            # Beyond the terminal event too, to the end of the response: nothing may follow.
            while True:
                try:
                    async with asyncio.timeout(_SILENCE):
                        piece = await anext(received, None)
                except TimeoutError:
                    connection.ended = "silent"
                    return
                if piece is None:
                    connection.ended = "closed"
                    return
                self._take(connection, parser, piece if budget is None else piece[:budget])
                if budget is not None and (budget := budget - len(piece)) <= 0:
                    connection.ended = "left"
                    return
                if stuck:
                    await asyncio.sleep(stuck)
                    stuck = 0.0

    def _take(self, connection: Connection, parser: EventParser, piece: bytes) -> None:
        connection.body += piece
        for event in parser.feed(piece):
            self._cursor = event.id
            connection.seen.append(Seen(event.id, event.event, event.data, time.time()))
            if not self._execution_id:
                self._execution_id = event.id.partition(".")[0]
                self._on_known(self._execution_id)
            if event.event in _TERMINAL:
                self._transcript.finished = True
        if parser.retry is not None:
            self._retry = parser.retry / 1000

    def _request(self) -> tuple[str, str, dict[str, str], bytes]:
        """Ask in any of the ways that there are."""
        headers = {"Accept": "text/event-stream"}
        if self._start is not None:
            method, path, more, body = self._start
            if not self._cursor:
                return method, path, headers | more, body
            if self._dice.random() < 0.2:
                # As a client that just repeats its request: with a cursor that starts nothing.
                return method, path, headers | more | {"Last-Event-ID": self._cursor}, body
        path = f"/v1/executions/{self._execution_id}/stream"
        if not self._cursor:
            return "GET", path, headers, b""
        if self._dice.random() < 0.2:
            return "GET", f"{path}?last_event_id={quote(self._cursor)}", headers, b""
        return "GET", path, headers | {"Last-Event-ID": self._cursor}, b""

    async def _refused(
        self, connection: Connection, reader: asyncio.StreamReader, answer: Answer
    ) -> None:
        """Take a status: only a start may be put off by one."""
        connection.ended = "refused"
        async for piece in content(reader, answer):
            connection.body += piece
        starting = self._start is not None and not self._cursor
        if starting and answer.status == 503:
            self._retry = float(answer.headers.get("retry-after", "1"))
        else:
            told = connection.body[:200].decode(errors="replace")
            self._transcript.problem = f"HTTP {answer.status} at {connection.door}: {told}"

    async def _look_beyond(self) -> None:
        """Resume from the terminal event: a GET must be told 204, that nothing follows."""
        path = f"/v1/executions/{self._execution_id}/stream"
        for _ in range(20):
            edge = self._dice.choice(list(self._doors.fronts))
            with suppress(OSError, Torn, TimeoutError):
                async with asyncio.timeout(_SILENCE), self._doors.enter(edge) as (reader, writer):
                    headers = {"Last-Event-ID": self._cursor}
                    answer = await ask(reader, writer, "GET", path, headers)
                    body = b"".join([piece async for piece in content(reader, answer)])
                    if answer.status == 204:
                        return
                    if answer.status != 200 or b"data:" in body:
                        problem = f"HTTP {answer.status} after the end: {body[:200]!r}"
                        self._transcript.problem = problem
                        return
            await asyncio.sleep(0.5)


async def call(
    doors: Doors, dice: random.Random, method: str, path: str
) -> tuple[int, dict[str, object]]:
    """Make a request that is answered with JSON, at any edge, until one answers.

    Returns:
        Its status, and the body.
    """
    while True:
        edge = dice.choice(list(doors.fronts))
        with suppress(OSError, Torn, TimeoutError):
            async with asyncio.timeout(_SILENCE), doors.enter(edge) as (reader, writer):
                answer = await ask(reader, writer, method, path, {})
                body = b"".join([piece async for piece in content(reader, answer)])
                if answer.status not in (502, 503):
                    return answer.status, json.loads(body)
        await asyncio.sleep(dice.uniform(0.1, 0.5))

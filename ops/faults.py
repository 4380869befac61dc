"""A TCP proxy whose connections break at a place of one's choice, or just fall silent."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

from ops.cut import CuttableProxy
from ops.ports import LOOPBACK


@dataclass(frozen=True)
class Fault:
    """A fault of one connection at one place of what it carries; it strikes once.

    Attributes:
        at: The place: behind this; but in front of it when a client's words are held, since half a
            command may be one too many.
        past: How many bytes further.
        request: Only the connection whose latest HTTP request has this in it.
        upward: The place is in what the client sends; else in what the server answers.
        hold: The connection stays open and falls silent; else it is reset.
        struck: Set when it has struck.
    """

    at: bytes
    past: int = 0
    request: bytes = b""
    upward: bool = False
    hold: bool = False
    struck: threading.Event = field(default_factory=threading.Event)

    def behind(self, seen: bytearray) -> int | None:
        """Tell after how many bytes it strikes; ``None`` when its place was not seen yet."""
        place = seen.find(self.at)
        if place < 0:
            return None
        return place + self.past + (0 if self.upward and self.hold else len(self.at))


class _Link:
    """A connection through the proxy.

    Attributes:
        flows: It is not held.
        said: What the client sent of its latest request.
        answered: What the server answered to it.
    """

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.flows = asyncio.Event()
        self.flows.set()
        self.said = bytearray()
        self.answered = bytearray()

    def note(self, data: bytes, *, upward: bool) -> bytearray:
        """Note what it carries; returns all that is known of that direction."""
        if upward and data.startswith((b"GET ", b"POST ")):
            self.forget()
        seen = self.said if upward else self.answered
        seen += data
        return seen

    def forget(self) -> None:
        """Forget what it carried so far."""
        self.said.clear()
        self.answered.clear()


class FaultyProxy(CuttableProxy):
    """A :class:`ops.cut.CuttableProxy` that can also break a connection at one place, or hold it.

    Args:
        upstream: The port of 127.0.0.1 to forward to.
    """

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self._links: set[_Link] = set()
        self._faults: list[Fault] = []

    def arm(self, fault: Fault) -> Fault:
        """Have a fault strike when its place comes by, once."""
        self._faults.append(fault)
        return fault

    def turn_to(self, upstream: int) -> None:
        """Forward new connections to another port, and leave those there are."""
        self._upstream = upstream

    def hold(self) -> None:
        """Forward nothing any more on the connections there are, and leave them open.

        As when a machine between vanished: neither side is told. Ended by :meth:`release` or ``cut``.
        """
        self._loop.call_soon_threadsafe(self._hold_all)

    def release(self) -> None:
        """Forward what was held."""
        self._loop.call_soon_threadsafe(self._release_all)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if time.monotonic() < self._down_until:
            self._reset(writer)
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection(LOOPBACK, self._upstream)
        except OSError:
            self._reset(writer)
            return
        self._writers.add(upstream)
        link = _Link(writer, upstream)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._carry(link, reader, upward=True),
                self._carry(link, upstream_reader, upward=False),
            )
        except OSError:  # one side is gone: so is the other
            self._break(link)
        self._links.discard(link)
        for ended in (writer, upstream):
            self._writers.discard(ended)
            ended.close()

    async def _carry(self, link: _Link, reader: asyncio.StreamReader, *, upward: bool) -> None:
        """Forward one direction until it ends, then pass the end on."""
        writer = link.server if upward else link.client
        while data := await reader.read(65536):
            rest = await self._suffer(link, data, upward=upward)
            await link.flows.wait()
            writer.write(rest)
            await writer.drain()
        await link.flows.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _suffer(self, link: _Link, data: bytes, *, upward: bool) -> bytes:
        """Let the faults strike whose place is in some data; returns what is left to forward."""
        if not self._faults:
            link.forget()
            return data
        seen = link.note(data, upward=upward)
        for fault in tuple(self._faults):
            stop = fault.behind(seen)
            if fault.upward is not upward or fault.request not in link.said:
                continue
            if stop is None or stop > len(seen):
                continue
            self._faults.remove(fault)
            before = max(0, stop - (len(seen) - len(data)))
            writer = link.server if upward else link.client
            await link.flows.wait()
            writer.write(data[:before])
            await writer.drain()
            if fault.hold:
                link.flows.clear()
                link.forget()  # what it carried before is no place for the next fault
            else:
                self._break(link)
            fault.struck.set()
            return data[before:]
        return data

    def _break(self, link: _Link) -> None:
        self._reset(link.client)
        self._reset(link.server)
        link.flows.set()

    def _hold_all(self) -> None:
        for link in self._links:
            link.flows.clear()

    def _release_all(self) -> None:
        for link in self._links:
            link.flows.set()

    def _reset_all(self) -> None:
        super()._reset_all()
        self._release_all()

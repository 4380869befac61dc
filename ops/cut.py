"""A TCP proxy that drops its connections when told to: a network fault on demand."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

from ops.ports import LOOPBACK

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close sends RST and throws away what is on its way."""


class Watcher(Protocol):
    """Sees what passes over one connection, and can end it at a byte of its choice.

    Called in the proxy's thread. Each call takes what arrived and returns what is passed on, ``b""``
    for nothing. To raise an ``OSError`` resets the connection on both sides; to raise ``EOFError`` closes
    both, once what was passed on has been sent.
    """

    def asked(self, data: bytes, /) -> bytes:
        """See what the client sent."""

    def answered(self, data: bytes, /) -> bytes:
        """See what the server sent."""


class CuttableProxy:
    """Listens on a free port of the loopback interface and forwards to another one.

    Runs in a thread of its own, so that a synchronous client can cut the very connection it reads
    from.

    Args:
        upstream: The port of 127.0.0.1 to forward to.
        watch: Makes a watcher for each connection.
    """

    def __init__(self, upstream: int, watch: Callable[[], Watcher] | None = None) -> None:
        self._upstream = upstream
        self._watch = watch
        self._down_until = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._thread = threading.Thread(target=self._run, name="cuttable-proxy", daemon=True)
        self._closing = asyncio.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """The base URL of an HTTP server reached through this proxy."""
        return f"http://{LOOPBACK}:{self.port}"

    def lead_to(self, upstream: int) -> None:
        """Forward new connections to another port, and reset those there are."""
        self._upstream = upstream
        self.cut()

    def cut(self, outage: float = 0.0) -> None:
        """Reset every connection, on both sides.

        Args:
            outage: For how long new connections are reset as well, in s.
        """
        self._down_until = time.monotonic() + outage
        self._loop.call_soon_threadsafe(self._reset_all)

    def close(self) -> None:
        """Reset what is open and stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        await self._closing.wait()
        server.close()
        self._reset_all()
        await asyncio.gather(*self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        # Python 3.11 does not wait for a server's connections: closing has to.
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

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
        try:
            watcher = self._watch() if self._watch is not None else _Nobody()
            await asyncio.gather(
                _pump(reader, upstream, watcher.asked),
                _pump(upstream_reader, writer, watcher.answered),
            )
        except OSError:  # one side is gone: so is the other
            self._reset(writer)
            self._reset(upstream)
        except EOFError:  # the watcher has seen enough
            pass
        for ended in (writer, upstream):
            self._writers.discard(ended)
            ended.close()

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        if writer not in self._writers:
            return
        self._writers.discard(writer)
        raw: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):  # the other side was first: it is closed already
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()


class _Nobody:
    def asked(self, data: bytes, /) -> bytes:
        return data

    answered = asked


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    see: Callable[[bytes], bytes],
) -> None:
    """Forward one direction until it ends, then pass the end on.

    Raises:
        OSError: One side is gone, or the watcher wants it to be.
        EOFError: The watcher wants both to be closed.
    """
    while data := await reader.read(65536):
        writer.write(see(data))
        await writer.drain()
    if writer.can_write_eof() and not writer.is_closing():
        writer.write_eof()

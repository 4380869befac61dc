"""The streams that are open in this process, and when each has to go.

A stream goes before its execution has ended because it is old (rotation: else a connection that
lives for ever never sees the server that was added since) or because the process stops (drain). It
is closed cleanly on an event boundary, and its client resumes. A timer tells it so: events cost
nothing more.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from typing import Final

from starlette.types import Receive, Scope

from machpay.serve.connection import Connection
from machpay.serve.turn import Turn

logger: Final = logging.getLogger("machpay.serve")

SEND_TIMEOUT: Final = 30.0
"""A client that takes nothing for so long, in s, is cut; it can resume."""

TOOK_NOTHING: Final = "a client took nothing for %g s and was cut"

LOOK_EVERY: Final = 1.0
"""How often to look whether clients take what they are sent, in s, or more often with a short
``send_timeout``."""

CUT_WITHIN: Final = 1.0
"""How long a server may take to notice that its connection was cut, in s."""

AGES: Final = (0.8, 1.2)
"""Between which parts of the maximal age streams go: those that came together don't go together."""

LAST_CALL: Final = 0.2
"""How long after a drain's window the last streams may take to close, in s."""


class OpenStream(Turn):
    """A stream from when its request is accepted until its response is over.

    Args:
        connection: Its client's.
        send_timeout: A client that takes nothing for so long, in s, is cut.
        on_close: Called when it is over.
        scope: Its request's.

    Attributes:
        scope: The same: who looks at the open streams finds there whose this one is.
        sending_since: Since when the response waits for its client to take something, by the loop's
            clock, in s; ``None`` while it doesn't.
    """

    __slots__ = (
        "_context",
        "_limit",
        "_on_close",
        "_over",
        "_release",
        "_resumable",
        "_timer",
        "connection",
        "scope",
        "send_timeout",
        "sending_since",
    )

    def __init__(
        self,
        connection: Connection,
        send_timeout: float,
        on_close: Callable[["OpenStream"], object],
        scope: Scope,
    ) -> None:
        super().__init__()
        self.scope: Scope = scope
        self.connection: Connection = connection
        self.send_timeout: float = send_timeout
        self._context = copy_context()
        self._on_close = on_close
        self._resumable = True
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._release: Callable[[], object] | None = None
        self.sending_since: float | None = None
        self._limit: asyncio.Timeout | None = None

    def on_stuck(self, limit: asyncio.Timeout | None) -> None:
        """Have the response ended by a limit when its client takes nothing for too long."""
        self._limit = limit

    def look(self, now: float) -> None:
        """Cut the connection when its client takes nothing for too long.

        Args:
            now: The loop's clock, in s.
        """
        since = self.sending_since
        if since is None or now - since < self.send_timeout:
            return
        self.sending_since = None
        self._context.run(logger.info, TOOK_NOTHING, self.send_timeout)  # under its request's id
        # The server notices, and tells the response that its client is gone. Just ending the response
        # would make it wait until the client has taken what is buffered.
        noticed = now + CUT_WITHIN if self.connection.cut() else now
        # One that is expiring already ends the response by itself, and can't be changed any more.
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):
                self._limit.reschedule(noticed)

    def on_closed(self, release: Callable[[], object]) -> None:
        """Have a callback called once, when it is over."""
        self._release = release

    def come(self) -> None:
        """Let its turn come; the connection goes with it, for the next one to be balanced anew."""
        self.connection.close_after_response()
        super().come()

    def come_within(self, earliest: float, latest: float) -> None:
        """Let its turn come at a random moment, unless it comes sooner anyway.

        Args:
            earliest: In s from now.
            latest: The same.
        """
        loop = asyncio.get_running_loop()
        delay = random.uniform(earliest, latest)  # noqa: S311 - spreads, hides nothing
        if self._timer is not None and self._timer.when() > loop.time() + delay:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._resumable and not self._over:
            self._timer = loop.call_later(delay, self.come)

    def leave_within(self, latest: float) -> None:
        """Let its turn come at a random moment, even if what it sends can't be resumed: that is cut.

        Args:
            latest: In s from now.
        """
        self._resumable = True
        self.come_within(0.0, latest)

    def stay(self) -> None:
        """Let its turn never come: what it sends can't be resumed."""
        self._resumable = False
        self._forget()

    def close(self) -> None:
        """Note that it is over; again and again if you like."""
        self._over = True  # the connection may be another request's by now
        self._forget()
        if self._release is not None:
            release, self._release = self._release, None
            release()
        self._on_close(self)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # else it would pass for one that comes sooner


class Request:
    """A request from when it is there until its response is made.

    Args:
        connection: Its client's.
        limit: Ends it when it expires.

    Attributes:
        answered: The response has begun: no other one can be given.
    """

    __slots__ = ("_limit", "answered", "connection")

    def __init__(self, connection: Connection, limit: asyncio.Timeout) -> None:
        self.connection: Connection = connection
        self._limit = limit
        self.answered: bool = False

    def end(self) -> None:
        """End it now."""
        if self.answered:
            self.connection.cut()
        self._limit.reschedule(asyncio.get_running_loop().time())


class Streams:
    """The open streams of one process, and its other requests.

    All methods run on the loop's thread.

    Args:
        max_age: About how old a stream may become, in s; ``None``: as old as its execution.
        send_timeout: A client that takes nothing for so long, in s, is cut.
    """

    def __init__(self, *, max_age: float | None = None, send_timeout: float = SEND_TIMEOUT) -> None:
        self._max_age = max_age
        self._send_timeout = send_timeout
        self._open: set[OpenStream] = set()
        self._requests: set[Request] = set()
        self._closing: dict[object, tuple[Connection, asyncio.TimerHandle]] = {}
        self._leave_by: float | None = None
        self._when_gone: Callable[[], object] | None = None
        self._looking: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def opened(self) -> Sequence[OpenStream]:
        """List the streams that are open now."""
        return tuple(self._open)

    def open(self, receive: Receive, scope: Scope | None = None) -> OpenStream:
        """Open a stream; its response closes it.

        Args:
            receive: Its request's channel.
            scope: Its request's scope.
        """
        connection = Connection(receive)
        stream = OpenStream(
            connection, self._send_timeout, self._closed, {} if scope is None else scope
        )
        self._open.add(stream)
        self._look_after()
        if self._max_age is not None:
            stream.come_within(*(part * self._max_age for part in AGES))
        if self._leave_by is not None:
            self._usher(stream, self._leave_by)
        return stream

    def _look_after(self) -> None:
        """Look whether clients take what they are sent, for as long as there are any."""
        if self._looking is None:
            every = min(LOOK_EVERY, self._send_timeout / 4)
            # No request's: it goes on for all of them.
            self._looking = asyncio.get_running_loop().call_later(
                every, self._look_at_clients, context=Context()
            )

    def _look_at_clients(self) -> None:
        self._looking = None
        if self._open:
            self._look_after()
        now = asyncio.get_running_loop().time()
        for stream in self.opened():
            stream.look(now)

    @contextlib.contextmanager
    def opening(self, receive: Receive, scope: Scope | None = None) -> Iterator[OpenStream]:
        """Open a stream for a request that may still be refused, which closes it again."""
        stream = self.open(receive, scope)
        try:
            yield stream
        except BaseException:
            stream.close()
            raise

    @contextlib.contextmanager
    def serving(self, request: Request) -> Iterator[Request]:
        """Count a request for as long as the context lasts: a drain waits for it."""
        self._requests.add(request)
        self._forget(request.connection)
        try:
            yield request
        finally:
            self._requests.discard(request)
            self._watch(request.connection)
            self._look()

    @property
    def left(self) -> float:
        """How long the window of a drain that has begun goes on, in s; without one for ever."""
        if self._leave_by is None:
            return math.inf
        return max(0.0, self._leave_by - asyncio.get_running_loop().time())

    def leave(self, window: float, when_gone: Callable[[], object]) -> None:
        """Let every stream's turn come, each at its own moment, and cut what is left at the end.

        Args:
            window: Over how long the moments are spread, in s.
            when_gone: Called once: when no stream is open and no request in flight any more, or
                :data:`LAST_CALL` after the window.
        """
        loop = asyncio.get_running_loop()
        logger.info("%d open streams are to end within %g s", len(self._open), window)
        self._leave_by = loop.time() + window
        self._when_gone = when_gone
        for stream in self._open:
            self._usher(stream, self._leave_by)
        loop.call_later(window + LAST_CALL, self._cut)
        self._look()

    @staticmethod
    def _usher(stream: OpenStream, leave_by: float) -> None:
        left = leave_by - asyncio.get_running_loop().time()
        stream.come_within(0.0, max(0.0, left))

    def _closed(self, stream: OpenStream) -> None:
        self._open.discard(stream)
        self._watch(stream.connection)
        self._look()

    def _watch(self, connection: Connection) -> None:
        """Cut a connection whose client never takes the end of its response.

        The server has no send to wait for any more, and closing it waits for the client.
        """
        self._forget(connection)
        if connection.unsent:
            timer = asyncio.get_running_loop().call_later(
                self._send_timeout, self._cut_unsent, connection
            )
            self._closing[connection.lasting] = connection, timer

    def _forget(self, connection: Connection) -> None:
        watched = self._closing.pop(connection.lasting, None)
        if watched is not None:
            watched[1].cancel()

    def _cut_unsent(self, connection: Connection) -> None:
        self._forget(connection)
        if connection.unsent:
            logger.info(TOOK_NOTHING, self._send_timeout)
            connection.cut()

    def _look(self) -> None:
        if self._when_gone is not None and not self._open and not self._requests:
            when_gone, self._when_gone = self._when_gone, None
            when_gone()

    def _cut(self) -> None:
        stuck = [stream.connection for stream in self._open]
        stuck += [connection for connection, _ in self._closing.values() if connection.unsent]
        if stuck:
            logger.info("%d streams were not over in time and were cut", len(stuck))
        for connection in stuck:
            self._forget(connection)
            connection.cut()
        for request in self._requests:
            request.end()
        if self._when_gone is not None:
            when_gone, self._when_gone = self._when_gone, None
            when_gone()

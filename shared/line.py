"""The line: one connection that carries the short commands of all tasks, without waiting in between.

A pool lends a connection to one command at a time, so that a thousand executions which append at once
are a thousand writes and a thousand reads, here and in Redis. On a line, a command that finds nothing in
flight is sent at once, with all others of this turn of the event loop; what comes while replies are
awaited goes with the next reply, in one write (Nagle's rule, RFC 896, for commands). Replies come back in
order, and whatever has arrived is read at once. So the busier a process is, the less a command costs it,
and Redis; and what a command waits for others is never more than a round trip.

What blocks in Redis (BLPOP) must not go over a line: everything behind it would wait.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeAlias

import hiredis
from redis.asyncio import Connection
from redis.exceptions import ConnectionError, TimeoutError

from shared.wire import Wire

logger: Final = logging.getLogger("machpay.line")

Command: TypeAlias = tuple[Any, ...]
"""A command and its arguments: bytes, str, int or float."""

Answered: TypeAlias = Callable[[Any], object]
"""Takes a reply, or an exception in its place. Must not raise."""

PAUSES: Final = (0.01, 0.1)
"""How long to wait until a command whose connection broke is sent again, each time, in s. As in the pool: a
connection that Redis closed is nobody's error, a longer outage is the caller's business."""

LOOK_EVERY: Final = 0.5
"""How often to look for a command that waits for too long, in s."""

FLUSH_BYTES: Final = 64 << 10
"""What gathers is sent at once when it is more than this: else nobody would notice that the kernel takes
no more."""


class Line:
    """Sends commands over one connection, which is opened by the first of them, and again when need be.

    All methods run on the loop's thread.

    Args:
        dial: Makes an unconnected connection.
        patience: How long a reply may take, in s; then the connection counts as dead.
    """

    def __init__(self, dial: Callable[[], Connection], patience: float) -> None:
        self._dial = dial
        self._patience = patience
        self._wire: Wire | None = None
        self._opening: asyncio.Future[None] | None = None
        self._waiting: deque[tuple[Answered, float]] = deque()
        self._outgoing: list[bytes] = []
        self._gathered = 0
        self._in_flight = 0
        self._flushing = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    async def execute(self, command: Command) -> Any:
        """Send a command and wait for its reply.

        Args:
            command: Safe to repeat: it is sent again when its connection breaks.

        Raises:
            ResponseError: Redis refuses it.
            ConnectionError: Redis can't be reached.
            TimeoutError: Redis did not answer in time. Not sent again: a Redis that hangs would be
                waited for three times over.
        """
        for pause in PAUSES:
            try:
                return await self._ask(command)
            except ConnectionError:
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
        return await self._ask(command)

    async def _ask(self, command: Command) -> Any:
        while self._wire is None or not self._wire.writable.is_set():
            if self._wire is None:
                await self._open()
            else:
                await self._wire.writable.wait()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(command, partial(_resolve, future))
        return await future

    def send(self, command: Command, answered: Answered) -> None:
        """Send a command without waiting for anything, or trying again.

        Args:
            command: The command.
            answered: Called with its reply, or with the error: what :meth:`execute` would raise, and a
                ConnectionError too when the connection is not open, or the kernel takes no more.
        """
        loop = asyncio.get_running_loop()
        if self._wire is None or not self._wire.writable.is_set():
            loop.call_soon(answered, ConnectionError("the connection is not open, or full"))
            return
        packed = hiredis.pack_command(command)
        self._waiting.append((answered, loop.time()))
        self._outgoing.append(packed)
        self._gathered += len(packed)
        if self._gathered > FLUSH_BYTES:
            self._flush()
        elif not self._in_flight:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._outgoing or self._wire is None:
            return
        data = b"".join(self._outgoing)
        self._in_flight += len(self._outgoing)
        self._outgoing.clear()
        self._gathered = 0
        try:
            self._wire.write(data)
        except ConnectionError:
            self._hang_up(ConnectionError("the connection was closed"))

    async def _open(self) -> None:
        """Connect, once for all who need it: who comes meanwhile shares what becomes of it."""
        if self._opening is not None:
            await asyncio.shield(self._opening)
            return
        outcome = self._opening = asyncio.get_running_loop().create_future()
        failure: Exception = ConnectionError("nobody waited until it was open")
        try:
            wire = await Wire.open(
                self._dial(), self._replied, lambda: self._broken(wire), self._flush_soon
            )
            self._take(wire)
        except Exception as error:
            failure = error
            raise
        finally:
            self._opening = None
            if self._wire is not None:
                outcome.set_result(None)
            else:
                outcome.set_exception(failure)
                outcome.exception()  # seen: perhaps nobody else waits

    def _take(self, wire: Wire) -> None:
        if self._closed:
            wire.close()
            raise ConnectionError("closed by us")
        self._wire = wire
        # No request's, whoever it was that opened the connection.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_EVERY, self._look, context=Context())

    def _replied(self, reply: Any) -> None:
        self._in_flight -= 1
        self._waiting.popleft()[0](reply)

    def _look(self) -> None:
        """Give the connection up when the oldest command waits for too long."""
        loop = asyncio.get_running_loop()
        if self._waiting and loop.time() - self._waiting[0][1] > self._patience:
            self._hang_up(TimeoutError(f"no answer for {self._patience:g} s"))
        else:
            self._timer = loop.call_later(LOOK_EVERY, self._look)

    def _broken(self, wire: Wire) -> None:
        if wire is self._wire:
            self._hang_up(ConnectionError("the connection was lost"))

    def _hang_up(self, reason: Exception) -> None:
        """Close the connection, and tell everybody who waits."""
        wire, self._wire = self._wire, None
        waiting, self._waiting = self._waiting, deque()
        self._outgoing.clear()
        self._gathered = self._in_flight = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wire is not None:
            wire.close()
        for answered, _ in waiting:
            try:
                answered(type(reason)(*reason.args))
            except Exception:
                # The others are told all the same.
                logger.exception("whoever waited for a reply broke")

    def close(self) -> None:
        """Close the connection, for good; whoever waits is told."""
        self._closed = True
        self._hang_up(ConnectionError("closed by us"))


def _resolve(future: "asyncio.Future[Any]", reply: Any) -> None:
    if future.done():
        return  # whoever asked does not wait any more
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)

"""One connection that carries every push of this process (sharded pub/sub, SSUBSCRIBE).

redis-py 5 has no asyncio client for sharded pub/sub, so this speaks to a bare connection, and pushes
are handed on where they are read, without a task in between.
Pushes are only an accelerator: whatever is lost while the connection is down is read from the log
afterwards, which is what ``on_connect`` is for.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError, RedisError

from shared.cancellation import cancelled
from shared.redis import dedicated_connection
from shared.telemetry import Outage
from shared.wire import Wire

logger: Final = logging.getLogger("machpay.subscription")

PING_EVERY: Final = 5.0
"""After how much silence the connection is probed, in s; twice that, and it counts as dead."""

RECONNECT_FIRST: Final = 0.02
RECONNECT_CAP: Final = 1.0
"""The shortest and the longest pause between two tries to connect, in s."""


class Subscription:
    """Subscribes to channels, over one connection that is kept up for ever.

    :meth:`run` must run in a task that somebody owns.

    Args:
        url: The logs' Redis.
        on_push: Called with channel and payload of each message, in order.
        on_connect: Called whenever the connection is up again, all channels subscribed: messages
            in between are lost.
    """

    def __init__(
        self,
        url: str,
        on_push: Callable[[bytes, bytes], None],
        on_connect: Callable[[], None],
    ) -> None:
        self._url = url
        self._on_push = on_push
        self._on_connect = on_connect
        self._outage = Outage(logger, "nothing is pushed")
        self._pause = RECONNECT_FIRST
        self._wire: Wire | None = None
        self._pending = False
        self._heard = False
        self._refusal: Exception | None = None
        self._channels: set[str] = set()
        self._acks: dict[str, asyncio.Future[None]] = {}
        self._unanswered: Counter[str] = Counter()

    async def subscribe(self, channel: str) -> None:
        """Subscribe; returns once Redis said so.

        Raises:
            ConnectionError: The connection is down. The channel is subscribed when it is up again.
        """
        # Answered, or the connection is given up for its silence: see PING_EVERY.
        await asyncio.shield(self.ask(channel))

    def ask(self, channel: str) -> "asyncio.Future[None]":
        """Subscribe, without waiting until Redis said so.

        Returns:
            Done when it did; it must not be cancelled.

        Raises:
            ConnectionError: As :meth:`subscribe` does.
        """
        self._channels.add(channel)
        ack = self._acks.get(channel)
        if ack is None:
            self._send("SSUBSCRIBE", channel)
            ack = self._acks[channel] = asyncio.get_running_loop().create_future()
            self._unanswered[channel] += 1
        return ack

    def unsubscribe(self, channel: str) -> None:
        """Unsubscribe; what is on its way is still pushed."""
        self._channels.discard(channel)
        # Who subscribes again must not take the answer to an earlier command for its own.
        _fail(self._acks.pop(channel, None), "unsubscribed")
        with suppress(ConnectionError):
            self._send("SUNSUBSCRIBE", channel)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        while not cancelled():
            try:
                await self._serve()
            except (RedisError, OSError) as error:
                self._outage.goes_on(error)
            finally:
                self._lose()
            await asyncio.sleep(random.uniform(self._pause / 2, self._pause))  # noqa: S311 - jitter
            self._pause = min(2 * self._pause, RECONNECT_CAP)

    async def _serve(self) -> None:
        lost = asyncio.Event()
        wire = await Wire.open(dedicated_connection(self._url), self._replied, lost.set)
        try:
            # In one go and in this order: what is subscribed from now on comes after it.
            self._wire = wire
            self._pending, self._heard, self._refusal = True, False, None
            for channel in tuple(self._channels):
                self._unanswered[channel] += 1
                self._send("SSUBSCRIBE", channel)
            self._send("PING")
            silent = 0
            while silent < 2 and not lost.is_set() and not cancelled():
                with suppress(TimeoutError):
                    async with asyncio.timeout(PING_EVERY):
                        await lost.wait()
                silent = 0 if self._heard else silent + 1
                self._heard = False
                if not lost.is_set():
                    self._send("PING")
        finally:
            wire.close()
        if self._refusal is not None:
            raise self._refusal
        if not lost.is_set():
            raise ConnectionError(f"no answer for {2 * PING_EVERY:.0f} s")
        raise ConnectionError("the connection was lost")

    def _replied(self, reply: Any) -> None:
        self._heard = True
        if type(reply) is list and reply[0] == b"smessage":
            self._on_push(reply[1], reply[2])
            return
        # A pong is a bare word while nothing is subscribed, and a list of two afterwards.
        if self._pending and (
            reply == b"PONG" or (isinstance(reply, list) and reply[0] == b"pong")
        ):
            self._pending = False
            self._pause = RECONNECT_FIRST
            self._outage.is_over()
            self._on_connect()
        if isinstance(reply, list):
            self._dispatch(reply)
        elif isinstance(reply, Exception) and self._wire is not None:
            self._refusal = reply
            self._wire.close()

    def _dispatch(self, reply: list[Any]) -> None:
        if reply[0] == b"ssubscribe":
            channel = reply[1].decode()
            self._unanswered[channel] -= 1
            if self._unanswered[channel] <= 0:
                del self._unanswered[channel]
                ack = self._acks.pop(channel, None)
                if ack is not None and not ack.done():
                    ack.set_result(None)

    def _lose(self) -> None:
        self._wire = None
        self._unanswered.clear()
        acks, self._acks = self._acks, {}
        for ack in acks.values():
            _fail(ack, "the subscription connection was lost")

    def _send(self, *command: str) -> None:
        if self._wire is None:
            raise ConnectionError("the subscription connection is down")
        self._wire.write(hiredis.pack_command(command))  # type: ignore[arg-type] # its stub says one


def _fail(ack: "asyncio.Future[None] | None", reason: str) -> None:
    if ack is not None and not ack.done():
        ack.set_exception(ConnectionError(reason))
        ack.exception()  # seen: whoever waits gets it, and nobody may wait

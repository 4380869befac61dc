"""The door of an edge: open to everybody as long as there are no API keys, and then on loopback alone.

An edge without ``MACHPAY_API_KEYS`` looks for keys in Redis: when it starts, and again every second until
there is one. As long as it does not know, its door is closed; once it has seen a key, the door stays closed
for as long as the process lives. Where there are keys, none of this costs anything.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.listening import is_exposed, listening, told_host
from edge.reach import reachable
from machpay.serve.executions import Unavailable
from shared.keyring import Keyring
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.edge")

LOOK_EVERY: Final = 1.0
"""How often an edge whose door is open looks for keys, in s."""

LOOK_WITHIN: Final = 1.0
"""How long that may take, in s."""

LISTENER_EVERY: Final = 0.1
"""How often to look whether the server listens, in s."""

LISTENER_LOOKS: Final = 100
"""How often at most: a server that does not listen by then, in 10 s, is none that can be looked at."""

FAILED: Final = 3
"""The exit code: uvicorn's for a start that failed, which gunicorn does not answer with another try."""

_WHAT_TO_DO: Final = (
    "make a key (python -m ops keys create --account NAME), or set MACHPAY_API_KEYS, or listen on "
    "127.0.0.1 or a Unix socket."
)


class Door:
    """Whether everybody is let in who reaches this edge.

    Args:
        keyring: The keys in Redis.
        closed: Whether there are other keys.
    """

    def __init__(self, keyring: Keyring, *, closed: bool) -> None:
        self._keyring = keyring
        self._open: bool | None = False if closed else None

    @property
    def is_open(self) -> bool:
        """Whether there are no keys; False as long as that is not known."""
        return self._open is True

    @property
    def is_closed(self) -> bool:
        """Whether there are keys, or were; False as long as that is not known."""
        return self._open is False

    def close(self) -> None:
        """Let nobody in without a key from now on."""
        if self._open is not False:
            logger.info("there are API keys: every request needs one")
        self._open = False

    async def knows(self) -> None:
        """See to it that it is known whether there are keys.

        Raises:
            Unavailable: Redis can't be asked.
        """
        if self._open is None:
            await self._look()

    async def _look(self) -> None:
        async with reachable(LOOK_WITHIN):
            used = await self._keyring.was_used()
        if used:
            self.close()
        elif self._open is None:
            self._open = True

    async def objection(self) -> str:
        """Tell why this process must not serve, as far as that is known before it listens."""
        try:
            await self.knows()
        except (Unavailable, RedisError, OSError):
            return ""  # it is closed until we know
        return self._too_open([told_host(), *listening()])

    def _too_open(self, addresses: list[str]) -> str:
        exposed = sorted(set(filter(is_exposed, addresses)))
        if not self.is_open or not exposed:
            return ""
        return (
            "there are no API keys, so everybody who reaches "
            f"{' or '.join(exposed)} could use it. It does not serve like that: {_WHAT_TO_DO}"
        )

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look for keys, and for listeners, as long as the context is open and there are no keys."""
        watches = [
            asyncio.create_task(self._watch_keys(), name="door"),
            asyncio.create_task(self._watch_listeners(), name="listeners"),
        ]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.wait(watches)

    async def _watch_keys(self) -> None:
        outage = Outage(logger, "it can't be told whether there are API keys")
        while not self.is_closed:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except (Unavailable, RedisError, OSError) as error:
                if (
                    not self.is_open
                ):  # else others say that Redis is away, and nothing is served anyway
                    outage.goes_on(error.__cause__ or error)
            else:
                outage.is_over()

    async def _watch_listeners(self) -> None:
        """End the process when it listens for others than this machine.

        Who comes before that is refused by the address that they came to.
        """
        seen = 0
        for _ in range(LISTENER_LOOKS):
            await asyncio.sleep(LISTENER_EVERY)
            while not self.is_open:
                if self.is_closed:
                    return
                await asyncio.sleep(LISTENER_EVERY)
            addresses = listening()
            reason = self._too_open(addresses)
            if reason:
                logger.critical(reason)
                logging.shutdown()
                # Nobody was served yet. And whatever is less than this a server takes for its own end, to
                # be drained, or for a fault, to be printed with all that led to it.
                os._exit(FAILED)
            # Twice: a server that listens on several addresses may be half way.
            seen += bool(addresses)
            if seen > 1:
                return


class Threshold:
    """Refuses to start what is open to everybody, in the way that ASGI has for it.

    Args:
        app: The application.
        door: Its door.
    """

    def __init__(self, app: ASGIApp, *, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but a start that must not be."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        begun = [await receive()]
        reason = await self._door.objection()
        if reason:
            await send({"type": "lifespan.startup.failed", "message": f"machpay edge: {reason}"})
            return

        async def again() -> Message:
            return begun.pop() if begun else await receive()

        await self._app(scope, again, send)

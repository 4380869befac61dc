"""The readers of executions that end when nobody reads them: an edge says that it has some."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final

from shared.cancellation import cancelled
from shared.presence import SAY_EVERY, Presence
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.readers")


EXPECTED: Final = 10_000
"""How many executions are remembered between a request's look at its terms and its reading."""


class Readers:
    """Counts readers, and says so for as long as there are any.

    :meth:`run` must run in a task that somebody owns.

    Args:
        presence: Where to say it.
    """

    def __init__(self, presence: Presence) -> None:
        self._presence = presence
        self._expected: OrderedDict[str, None] = OrderedDict()
        self._reading: Counter[str] = Counter()
        self._news = asyncio.Event()

    def expect(self, execution_id: str) -> None:
        """Have whoever begins to read an execution now counted: it ends without readers."""
        self._expected[execution_id] = None
        self._expected.move_to_end(execution_id)
        if len(self._expected) > EXPECTED:
            self._expected.popitem(last=False)

    def counted(
        self, execution_id: str, frames: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """Pass frames on to a reader, who is counted meanwhile where that matters."""
        return self._count(execution_id, frames) if execution_id in self._expected else frames

    async def _count(
        self, execution_id: str, frames: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        self._reading[execution_id] += 1
        self._news.set()
        try:
            async with aclosing(frames):
                async for block in frames:
                    yield block
        finally:
            self._reading[execution_id] -= 1
            if not self._reading[execution_id]:
                del self._reading[execution_id]

    async def run(self) -> None:
        """Say who is read, until cancelled."""
        outage = Outage(logger, "nobody hears who is read")
        while not cancelled():
            self._news.clear()
            if self._reading:
                try:
                    await self._presence.say(self._reading)
                    outage.is_over()
                except Exception as error:  # noqa: BLE001 - said once; the next time comes soon
                    outage.goes_on(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(SAY_EVERY if self._reading else None):
                    await self._news.wait()

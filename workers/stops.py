"""Stops: what a worker runs and must not run any more, told by whoever ended it from outside."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from shared.cancellation import cancelled
from shared.keys import stops_key
from shared.redis import Client
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.stops")

WAIT: Final = 2.0
"""How long one BLPOP waits, in s; well under the connection's time-out."""

RETRY_EVERY: Final = 0.5
"""How long to wait for a Redis that is away, in s."""


async def listen_for_stops(redis: Client, worker: str, stop: Callable[[str], None]) -> None:
    """Pass on the executions that a worker must stop, until cancelled.

    A stop that is lost all the same, with its Redis say, is noticed at the next append.

    Args:
        redis: The queue's Redis.
        worker: The worker's token.
        stop: Called with each execution's id, at once.
    """
    outage = Outage(logger, "stops are not heard")
    while not cancelled():
        try:
            told: Any = await redis.blpop([stops_key(worker)], WAIT)  # type: ignore[arg-type,misc]
        except Exception as error:  # noqa: BLE001 - said once; whatever it is, try again
            outage.goes_on(error)
            await asyncio.sleep(RETRY_EVERY)
            continue
        outage.is_over()
        if told:
            stop(told[1].decode(errors="replace"))

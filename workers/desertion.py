"""Desertion: an execution that is to end when nobody has read it for some time."""

import logging
from asyncio import sleep
from time import monotonic
from typing import Final

from redis.exceptions import RedisError

from machpay._endings import CANCELLED
from machpay._wire import encode_payload
from shared.log import EventLog
from shared.presence import Presence

logger: Final = logging.getLogger("machpay.desertion")

ASK_EVERY: Final = 1.0
"""How often to look for readers, in s."""


async def end_when_deserted(
    log: EventLog, presence: Presence, execution_id: str, limit: float
) -> None:
    """End an execution with ``error cancelled`` once nobody has read it for long enough.

    What is not known is not held against it: while Redis is away, and edges can say nothing, the
    time does not count.

    Args:
        log: The event logs.
        presence: Who reads.
        execution_id: The execution.
        limit: For how long there may be no reader, in s.
    """
    deserted_since: float | None = None
    while True:
        await sleep(ASK_EVERY)
        try:
            if await presence.anybody(execution_id):
                deserted_since = None
                continue
            deserted_since = monotonic() if deserted_since is None else deserted_since
            if monotonic() - deserted_since >= limit:
                await log.conclude(execution_id, encode_payload(CANCELLED))
                break
        except (RedisError, OSError) as error:
            logger.debug("%s: nobody knows who reads it: %s", execution_id, error)
            deserted_since = None
    logger.info("%s: nobody has read it for %g s", execution_id, limit)

"""Desertion: an execution that is to end when nobody has read it for some time."""

import asyncio
import logging
from asyncio import sleep
from time import monotonic
from typing import Final

from redis.exceptions import RedisError

from machpay._endings import CANCELLED
from machpay._wire import encode_payload
from shared.cancellation import cancelled
from shared.log import EventLog
from shared.presence import Presence

logger: Final = logging.getLogger("machpay.desertion")

ASK_EVERY: Final = 1.0
"""How often to look for readers, in s."""

SETTLE: Final = 10.0
"""For how long after Redis was away an edge's silence means nothing, in s: its connection may be found
dead later than ours."""


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
    not_before = 0.0
    while not cancelled():
        await sleep(ASK_EVERY)
        try:
            if await presence.anybody(execution_id):
                deserted_since = None
                continue
            if deserted_since is None:
                deserted_since = max(monotonic(), not_before)
            if monotonic() - deserted_since >= limit:
                await log.conclude(execution_id, encode_payload(CANCELLED))
                logger.info("%s: nobody has read it for %g s", execution_id, limit)
                return
        except (RedisError, OSError) as error:
            logger.debug("%s: nobody knows who reads it: %s", execution_id, error)
            deserted_since = None
            not_before = monotonic() + SETTLE
    raise asyncio.CancelledError

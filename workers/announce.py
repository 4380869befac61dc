"""Announcing skills: while a worker lives, the registry knows what it can run."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from redis.exceptions import RedisError

from machpay.skill import Skill
from shared.redis import is_away
from shared.registry import ANNOUNCE_EVERY, Registry
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.announce")

RETRY_EVERY: Final = 1.0


async def announce(registry: Registry, skills: Collection[Skill]) -> None:
    """Announce skills once; waits for a Redis that is not there yet."""
    outage = Outage(logger, "skills are not announced")
    while True:
        try:
            await registry.announce(skills)
        except (RedisError, OSError) as error:
            if not is_away(error):
                raise
            outage.goes_on(error)
            await asyncio.sleep(RETRY_EVERY)
        else:
            outage.is_over()
            return


async def keep_announcing(registry: Registry, skills: Collection[Skill]) -> None:
    """Announce skills again and again, until cancelled."""
    while True:
        await asyncio.sleep(ANNOUNCE_EVERY)
        await announce(registry, skills)

"""Announcing skills: while a worker lives, the registry knows what it can run."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from machpay.skill import Skill
from shared.cancellation import cancelled
from shared.registry import ANNOUNCE_EVERY, Registry
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.announce")

RETRY_EVERY: Final = 1.0


async def announce(registry: Registry, skills: Collection[Skill]) -> None:
    """Announce skills once; waits for a Redis that is not there yet."""
    outage = Outage(logger, "skills are not announced")
    while not cancelled():
        try:
            await registry.announce(skills)
        except Exception as error:  # noqa: BLE001 - said once; a worker works without it
            outage.goes_on(error)
            await asyncio.sleep(RETRY_EVERY)
        else:
            outage.is_over()
            return


async def keep_announcing(registry: Registry, skills: Collection[Skill]) -> None:
    """Announce skills again and again, until cancelled."""
    while not cancelled():
        await asyncio.sleep(ANNOUNCE_EVERY)
        await announce(registry, skills)

"""Announcing skills: while a worker lives, the registry knows what it can run."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from shared.cancellation import cancelled
from shared.registry import ANNOUNCE_EVERY, Registry
from shared.telemetry import Outage
from workers.remote_servers import RemoteServers

logger: Final = logging.getLogger("machpay.announce")

RETRY_EVERY: Final = 1.0
"""When a Redis that is away is tried again, in s."""


async def announce(registry: Registry, servers: RemoteServers) -> None:
    """Announce skills once; waits for a Redis that is not there yet."""
    outage = Outage(logger, "skills are not announced")
    while not cancelled():
        try:
            await registry.announce(servers.announced())
        except Exception as error:  # noqa: BLE001 - said once; a worker works without it
            outage.goes_on(error)
            await asyncio.sleep(RETRY_EVERY)
        else:
            outage.is_over()
            return


async def keep_announcing(registry: Registry, servers: RemoteServers) -> None:
    """Announce skills again and again, and at once when they change, until cancelled."""
    while not cancelled():
        with suppress(TimeoutError):
            async with asyncio.timeout(ANNOUNCE_EVERY):
                await servers.changed.wait()
                servers.changed.clear()
                ids = [skill.id for skill in servers.announced()]
                logger.info("ready: %s", ", ".join(ids) or "no skills")
        await announce(registry, servers)

"""Announcing skills: while a worker lives, the registry knows what it can run."""

import asyncio
import logging
from typing import Final

from shared.cancellation import cancelled
from shared.registry import ANNOUNCE_EVERY, Registry
from shared.telemetry import Outage
from workers.remote_servers import RemoteServers

logger: Final = logging.getLogger("machpay.announce")

RETRY_EVERY: Final = 1.0
"""When what is away, Redis or a server with skills, is asked again, in s."""


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
    """Announce skills again and again, until cancelled; those of other servers as they list them."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not cancelled():
        before = servers.announced()
        await servers.refresh()
        now = servers.announced()
        if now != before:
            logger.info("ready: %s", ", ".join(skill.id for skill in now))
        if now != before or loop.time() >= due:
            await announce(registry, servers)
            due = loop.time() + ANNOUNCE_EVERY
        away = RETRY_EVERY if servers.away else ANNOUNCE_EVERY
        await asyncio.sleep(min(away, max(0.0, due - loop.time())))

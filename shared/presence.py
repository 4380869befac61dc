"""Presence: whether anybody reads an execution, said by edges and asked by the worker.

For executions that end when nobody reads them any more. Only edges know who reads, and only the
worker that runs an execution is sure to be there to end it.
"""

from collections.abc import Collection
from typing import Final

from shared.keys import readers_key
from shared.redis import Client

SAY_EVERY: Final = 1.0
"""How often an edge says who is read, in s."""

PRESENT_FOR: Final = 3 * SAY_EVERY
"""How long that holds, in s."""


class Presence:
    """Says and asks.

    Args:
        redis: The logs' Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    async def say(self, execution_ids: Collection[str]) -> None:
        """Say that somebody reads these executions, now."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for execution_id in execution_ids:
                pipe.set(readers_key(execution_id), b"1", px=int(PRESENT_FOR * 1000))
            await pipe.execute()

    async def anybody(self, execution_id: str) -> bool:
        """Tell whether somebody reads an execution, or did some seconds ago."""
        return bool(await self._redis.exists(readers_key(execution_id)))

"""The live registry: which skills there are, as their workers announce them.

A skill stays known for a day after its last announcement: while all of its workers are being
replaced, executions queue up instead of being refused. ``live`` tells whether a worker was seen
lately.
"""

import time
from collections.abc import Iterable
from typing import Final

import msgspec

from machpay.serve.executions import SkillInfo
from shared.keys import SKILL_TTL_MS, SKILLS, skill_key
from shared.redis import Client

ANNOUNCE_EVERY: Final = 10.0
"""How often a worker announces its skills, in s."""

LIVE_FOR: Final = 3 * ANNOUNCE_EVERY
"""For how long an announcement makes a skill live, in s."""

REMEMBERED: Final = 0.5
"""For how long a process starts a skill as it was found last, in s: so long, a new price or limit may go
unnoticed."""

_decoder: Final = msgspec.json.Decoder(SkillInfo)


class Registry:
    """Announces and finds skills.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._found: dict[str, tuple[float, SkillInfo]] = {}

    async def announce(self, skills: Iterable[SkillInfo]) -> None:
        """Say that a worker has these skills, now."""
        now = time.time_ns() // 1_000_000
        async with self._redis.pipeline(transaction=False) as pipe:
            for skill in skills:
                info = msgspec.json.encode(skill)
                pipe.set(skill_key(skill.id), info, px=SKILL_TTL_MS)
                pipe.zadd(SKILLS, {skill.id: now})
            pipe.zremrangebyscore(SKILLS, "-inf", now - SKILL_TTL_MS)
            pipe.pexpire(SKILLS, SKILL_TTL_MS)
            await pipe.execute()

    async def find(self, skill_id: str) -> SkillInfo | None:
        """Find a skill; ``None`` when no worker announced it within a day.

        What was found is remembered for :data:`REMEMBERED` s: every start asks.
        """
        until, known = self._found.get(skill_id, (0.0, None))
        if time.monotonic() < until:
            return known
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(skill_key(skill_id))
            pipe.pttl(skill_key(skill_id))
            data, ttl = await pipe.execute()
        info = _read(data, ttl)
        if info is None:
            self._found.pop(skill_id, None)
        else:
            self._found[skill_id] = time.monotonic() + REMEMBERED, info
        return info

    async def list(self) -> list[SkillInfo]:
        """List all known skills, by id."""
        ids = sorted(
            name.decode(errors="replace") for name in await self._redis.zrange(SKILLS, 0, -1)
        )
        async with self._redis.pipeline(transaction=False) as pipe:
            for skill_id in ids:
                pipe.get(skill_key(skill_id))
                pipe.pttl(skill_key(skill_id))
            replies = await pipe.execute()
        infos = (_read(data, ttl) for data, ttl in zip(replies[::2], replies[1::2], strict=True))
        return [info for info in infos if info is not None]


def _read(data: bytes | None, ttl_ms: int) -> SkillInfo | None:
    if data is None:
        return None
    try:
        info = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    # The key's age by Redis's own clock: the worker's and the edge's may differ.
    return msgspec.structs.replace(info, live=SKILL_TTL_MS - ttl_ms < LIVE_FOR * 1000)

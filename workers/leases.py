"""Leases: a worker's right to run a job, and how it ends.

A job is leased by moving its score in the queue to now + lease and writing the worker's token
beside it. Whoever stops renewing, dead or stuck, loses the job when the lease lapses: the score is
due again, and the next worker picks it. All clocks are Redis's own.

The token outlives the lease: who holds a job is who picked it last, however long ago. Else, after an
outage in which every lease lapsed, a worker that had lost a job long before could take it back.

While Redis is away, nobody can renew: what lapsed in such a time is left to its holder for one more
lease (``pick.lua``), or every outage would end executions whose workers are well.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

from arq.constants import job_key_prefix, retry_key_prefix

from shared.keys import (
    BELL,
    BELL_TOKENS,
    HOLDER_TTL_MS,
    LEASE_PREFIX,
    QUEUE,
    job_key,
    lease_key,
)
from shared.redis import Client, load_script

logger: Final = logging.getLogger("machpay.leases")

FINISH: Final = "finish"


class Picked(NamedTuple):
    """A job that is ours to run now.

    Attributes:
        job_id: arq's job id: the execution id.
        score: The ms from which it was due.
        job: As arq encodes it; ``None`` when it expired.
        picks: How often it was picked, this time included.
    """

    job_id: str
    score: int
    job: bytes | None
    picks: int


class Renewed(NamedTuple):
    """What became of leases that were to be renewed; all others are renewed.

    Attributes:
        lost: Jobs that another worker holds now: stop running them.
        unknown: Jobs that the queue does not know: finished by another worker, or lost by Redis.
    """

    lost: list[str]
    unknown: list[str]


class Leases:
    """Picks, renews and releases jobs for one worker.

    Args:
        redis: The queue's Redis.
        lease: How long a lease outlives its last renewal, in s.
        token: The worker's identity; another worker's lease is never touched.

    Attributes:
        more: The last pick left jobs that are due, since its answer was large: pick again.
    """

    def __init__(self, redis: Client, lease: float, token: str | None = None) -> None:
        self.token = token or secrets.token_hex(8)
        self._redis = redis
        self._lease_ms = int(lease * 1000)
        self.more = False
        self._contact_ms = 0
        self._spare_until_ms = 0
        self._pick = load_script(redis, "workers", "pick.lua")
        self._renew = load_script(redis, "workers", "renew.lua")
        self._release = load_script(redis, "workers", "release.lua")

    async def pick(self, count: int) -> list[Picked]:
        """Lease the jobs that are due, oldest first.

        Args:
            count: The most to pick.
        """
        now, more, *rows = await self._pick(
            [QUEUE, BELL],
            [
                self.token,
                self._lease_ms,
                count,
                LEASE_PREFIX,
                retry_key_prefix,
                self._contact_ms,
                self._spare_until_ms,
                HOLDER_TTL_MS,
                job_key_prefix,
            ],
        )
        self._answered(now)
        self.more = bool(more)
        picked = []
        for name, score, job, picks in zip(
            rows[::4], rows[1::4], rows[2::4], rows[3::4], strict=True
        ):
            try:
                picked.append(Picked(name.decode(), int(float(score)), job, picks))
            except (UnicodeDecodeError, OverflowError, ValueError):
                # Nobody of ours queued it, and it would come back to every worker for ever.
                logger.warning("dropped from the queue, not a job: %r at %r", name, score)
                await self._redis.zrem(QUEUE, name)
        return picked

    def spare(self) -> None:
        """Leave what lapsed to its holders for one lease, from the next answer on.

        For a worker that started while Redis was away: it can't know for how long that was.
        """
        self._contact_ms = 1

    async def renew(self, job_ids: Iterable[str]) -> Renewed:
        """Renew the leases of running jobs, all in one call."""
        arguments = [self.token, self._lease_ms, LEASE_PREFIX, HOLDER_TTL_MS, *job_ids]
        # A connection that hangs must not cost all leases: a third of one is left to try again.
        async with asyncio.timeout(self._lease_ms / 3000):
            now, lost, unknown = await self._renew([QUEUE], arguments)
        self._answered(now)
        return Renewed([name.decode() for name in lost], [name.decode() for name in unknown])

    async def holds(self, job_id: str) -> bool:
        """Tell whether no other worker has picked a job since this one did."""
        holder: bytes | None = await self._redis.get(lease_key(job_id))
        return holder is None or holder == self.token.encode()

    def _answered(self, now_ms: int) -> None:
        if self._contact_ms and now_ms - self._contact_ms > self._lease_ms / 2:
            self._spare_until_ms = now_ms + self._lease_ms
        self._contact_ms = now_ms

    async def finish(self, job_id: str) -> bool:
        """Forget a finished job.

        Args:
            job_id: The job.

        Returns:
            False when another worker holds it: then nothing was touched.
        """
        return await self._end(job_id, FINISH)

    async def give_back(self, job_id: str, delay_ms: int = 0) -> bool:
        """Make a job due again, at once by default.

        Returns:
            False when another worker holds it: then nothing was touched.
        """
        return await self._end(job_id, delay_ms)

    async def _end(self, job_id: str, how: str | int) -> bool:
        keys = [
            QUEUE,
            LEASE_PREFIX + job_id,
            BELL,
            job_key(job_id),
            retry_key_prefix + job_id,
        ]
        return bool(await self._release(keys, [self.token, job_id, how, BELL_TOKENS]))

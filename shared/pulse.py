"""The pulse: what all processes count and measure, in slots of ten seconds, for the last two hours.

A process gathers in memory (:class:`Tally`) and hands it on every few seconds (:class:`Pulse`), so that
what is measured costs a dictionary's entry where it is measured. Everything of one slot is one hash:

==============================  ==============================================================
field                           counts
==============================  ==============================================================
``started``                     executions that an edge started
``outcome:<code>``              executions that ended (``ledger.lua`` counts them, with their row)
``first_chunk:<bucket>``        start to first chunk, at the edge that streams it from its start:
                                from before the start is written until the chunk is handed to the
                                socket, by one monotonic clock
``delivery:<bucket>``           a chunk's ``timestamp`` until an edge hands it to sockets; sampled
``queue_wait:<bucket>``         start to first claim, at the worker
==============================  ==============================================================

:mod:`shared.buckets` says what a bucket is. ``delivery`` and ``queue_wait`` compare the clocks of two
machines: they are as right as NTP keeps these, and a chunk that seems to arrive before it was made counts
as the shortest duration there is. A chunk's ``timestamp`` is in whole ms, so ``delivery`` is up to 1 ms
too long.

These are measurements, not money: what was gathered when a process is killed is lost, and a flush that is
sent again because its answer was lost counts twice.
"""

import time
from collections import Counter
from typing import Final

from shared.buckets import bucket_of
from shared.keys import PULSE_TTL_MS, SLOT_MS, pulse_key
from shared.redis import Client, load_script

STARTED: Final = "started"
FIRST_CHUNK: Final = "first_chunk"
DELIVERY: Final = "delivery"
QUEUE_WAIT: Final = "queue_wait"

METRICS: Final = (FIRST_CHUNK, DELIVERY, QUEUE_WAIT)

KEPT_SLOTS: Final = 6
"""What a process still hands on after an outage of Redis: the last minute. So much is all it keeps, and
what is older than that does not change any more."""


class Tally:
    """What one process counted and did not hand on yet.

    All methods run on one thread.
    """

    def __init__(self) -> None:
        self._slots: dict[int, Counter[str]] = {}

    def count(self, field: str) -> None:
        """Count something that happened now."""
        self._slot()[field] += 1

    def measure(self, metric: str, seconds: float) -> None:
        """Count a duration that ended now.

        Args:
            metric: One of :data:`METRICS`.
            seconds: In s.
        """
        self._slot()[f"{metric}:{bucket_of(seconds)}"] += 1

    def _slot(self) -> Counter[str]:
        now = time.time_ns() // (SLOT_MS * 1_000_000)
        slot = self._slots.get(now)
        if slot is None:
            self._forget(now)
            slot = self._slots[now] = Counter()
        return slot

    def _forget(self, now: int) -> None:
        # From the future, too: a clock that was set back must not keep them for ever.
        for old in [slot for slot in self._slots if not now - KEPT_SLOTS < slot <= now]:
            del self._slots[old]

    def take(self) -> dict[int, Counter[str]]:
        """Take what there is, by slot."""
        self._forget(time.time_ns() // (SLOT_MS * 1_000_000))
        taken, self._slots = self._slots, {}
        return taken

    def give_back(self, taken: dict[int, Counter[str]]) -> None:
        """Keep what could not be handed on."""
        for slot, counts in taken.items():
            self._slots.setdefault(slot, Counter()).update(counts)


class Pulse:
    """Hands on what a process counted.

    Args:
        redis: The queue's Redis.
        tally: What counts.
    """

    def __init__(self, redis: Client, tally: Tally) -> None:
        self._tally = tally
        self._add = load_script(redis, "shared", "pulse.lua")

    async def flush(self) -> None:
        """Hand on what there is.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached; what can be kept is.
        """
        taken = self._tally.take()
        if not taken:
            return
        arguments: list[str | int] = [PULSE_TTL_MS]
        for place, counts in enumerate(taken.values(), 1):
            for field, n in counts.items():
                arguments += (place, field, n)
        try:
            await self._add([pulse_key(slot) for slot in taken], arguments)
        except Exception:
            self._tally.give_back(taken)
            raise

"""The billing stream: each new row of the ledger, once, for billing systems outside.

``ledger.lua`` adds a row to it in the step that writes the row, if the stream is there: an operator makes it
with its first consumer group. Rows are whole, so it needs no logs; it only shrinks when it is told to, and
never by what a group has not acknowledged.
"""

from typing import Final

import msgspec
from redis.exceptions import ResponseError

from shared.keys import BILLING
from shared.redis import Client, load_script

TRIM_AT_A_TIME: Final = 10_000
"""How many entries one command removes."""

_NOTHING: Final = "0-0"
_MISSING: Final = "no such key"
_UNKNOWN: Final = -1
_OWES: Final = -2


class FeedError(Exception):
    """What was asked of the billing stream can't be done; the message says why."""


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group has come.

    Attributes:
        name: The group.
        consumers: How many there ever were, unless they were removed.
        pending: Rows that were delivered, and not acknowledged yet.
        lag: Rows that were not delivered yet; ``None``: Redis can't tell.
        oldest_s: How long ago the oldest row was written that is not acknowledged, in s; 0: none is.
    """

    name: str
    consumers: int
    pending: int
    lag: int | None
    oldest_s: float


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """How the stream stands.

    Attributes:
        length: How many rows are in it.
        bytes: What it takes of Redis's memory.
        groups: Its consumer groups, by name.
    """

    length: int
    bytes: int
    groups: list[GroupState]


class Feed:
    """Keeps the billing stream.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._trim = load_script(redis, "shared", "trim.lua")
        self._drop = load_script(redis, "shared", "drop_group.lua")

    async def create(self, group: str, *, everything: bool = False) -> None:
        """Make a group, and the stream if it is the first.

        Args:
            group: Its name.
            everything: It begins with the oldest row that is still there for other groups; else with
                the next row that is written.

        Raises:
            FeedError: There is a group of that name.
        """
        try:
            await self._redis.xgroup_create(
                BILLING, group, _NOTHING if everything else "$", mkstream=True
            )
        except ResponseError as error:
            if "BUSYGROUP" in str(error):
                raise FeedError(f"there is a group {group!r} already") from None
            raise

    async def status(self) -> FeedState | None:
        """Tell how the stream stands; ``None`` when there is none."""
        try:
            groups = await self._redis.xinfo_groups(BILLING)
        except ResponseError as error:
            if _MISSING in str(error):
                return None
            raise
        states = [await self._state(group) for group in groups]
        return FeedState(
            length=await self._redis.xlen(BILLING),
            bytes=await self._redis.memory_usage(BILLING, samples=5) or 0,
            groups=sorted(states, key=lambda state: state.name),
        )

    async def trim(self) -> int:
        """Remove the rows that all groups have acknowledged; tells how many.

        Without a group nothing is removed.
        """
        removed: int = 0
        while True:
            count, more = await self._trim([BILLING], [TRIM_AT_A_TIME])
            removed += count
            if not more:
                return removed

    async def delete(self, group: str, *, force: bool = False) -> int | None:
        """Delete a group; with the last of them the stream, too.

        Args:
            group: Its name.
            force: Though there are rows that it did not acknowledge.

        Returns:
            How many groups are left; ``None`` when there is no such group.

        Raises:
            FeedError: It has rows that it did not acknowledge.
        """
        left: int = await self._drop([BILLING], [group, int(force)])
        if left == _OWES:
            raise FeedError(f"the group {group!r} has not acknowledged all rows")
        return None if left == _UNKNOWN else left

    async def _state(self, group: dict[str, object]) -> GroupState:
        name = bytes(group["name"])  # type: ignore[call-overload] # redis-py tells no types
        pending = await self._redis.xpending(BILLING, name)
        oldest: bytes | None = pending["min"]
        if oldest is None:
            after = bytes(group["last-delivered-id"])  # type: ignore[call-overload] # the same
            rows = await self._redis.xrange(BILLING, b"(" + after, "+", 1)
            oldest = rows[0][0] if rows else None
        age = 0.0
        if oldest is not None:
            seconds, micros = await self._redis.time()
            age = max(0.0, seconds + micros / 1e6 - int(oldest.partition(b"-")[0]) / 1000)
        return GroupState(
            name=name.decode(errors="replace"),
            consumers=int(str(group["consumers"])),
            pending=int(pending["pending"]),
            lag=None if group.get("lag") is None else int(str(group["lag"])),
            oldest_s=round(age, 3),
        )

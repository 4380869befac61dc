"""Credit: what accounts were granted to spend before they spend it."""

import time
from decimal import Decimal
from typing import Final

import msgspec

from shared.keys import PREPAID, account_key, grants_key, hold_keys
from shared.nano import to_nano
from shared.redis import Client, load_script


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What was granted.

    Attributes:
        id: Its id: the same one is granted once.
        usd: How much.
        at: When, in ms since the epoch.
        note: What for.
    """

    id: str
    usd: Decimal
    at: int
    note: str = ""


_grant: Final = msgspec.json.Decoder(Grant)


class Credits:
    """Grants and ends credit.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._grant = load_script(redis, "shared", "grant.lua")

    async def grant(self, account: str, usd: Decimal, *, grant_id: str, note: str = "") -> bool:
        """Grant credit: what the account starts from now on is paid from it, and from nothing else.

        Args:
            account: The account.
            usd: How much; exact in 1e-9 USD.
            grant_id: Names this grant, that of a payment say: safe to repeat.
            note: What for.

        Returns:
            False when that was granted before.
        """
        record = Grant(id=grant_id, usd=usd, at=time.time_ns() // 1_000_000, note=note)
        added = await self._grant(
            [account_key(account), grants_key(account), PREPAID],
            [grant_id, msgspec.json.encode(record), to_nano(usd), account],
        )
        return bool(added)

    async def grants(self, account: str) -> list[Grant]:
        """List what an account was granted, oldest first."""
        found: dict[bytes, bytes] = await self._redis.hgetall(grants_key(account))  # type: ignore[misc]
        return sorted(map(_grant.decode, found.values()), key=lambda grant: grant.at)

    async def accounts(self) -> list[str]:
        """List the accounts that are prepaid, by name."""
        found: set[bytes] = await self._redis.smembers(PREPAID)  # type: ignore[misc]
        return sorted(name.decode() for name in found)

    async def end(self, account: str) -> None:
        """Let an account pay afterwards: its credit, and what of it is reserved, is gone."""
        key, _, reserved = hold_keys(account)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(key, "balance", "reserved")
            pipe.delete(reserved, grants_key(account))
            pipe.srem(PREPAID, account)
            await pipe.execute()

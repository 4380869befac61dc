"""Credit: what accounts were granted to spend before they spend it."""

import time
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from shared.keys import PREPAID, account_key, grants_key, hold_keys
from shared.nano import to_nano, to_usd
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


class Ended(NamedTuple):
    """What became of an account's credit.

    Attributes:
        done: It is ended; else nothing changed, since some of it is reserved.
        executions: For how many executions something is reserved.
        credit: What is left, or was, in USD; ``None``: it was not prepaid.
        reserved: What is reserved, or was, in USD.
    """

    done: bool
    executions: int
    credit: Decimal | None
    reserved: Decimal


_grant: Final = msgspec.json.Decoder(Grant)


class Credits:
    """Grants and ends credit.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._grant = load_script(redis, "shared", "grant.lua")
        self._end = load_script(redis, "shared", "end_credit.lua")

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

    async def end(self, account: str, *, force: bool = False) -> Ended:
        """Let an account pay afterwards: its credit is gone.

        Args:
            account: The account.
            force: Though some of it is reserved. That is gone, too; but its executions are still paid
                from credit: what they cost is taken from what is granted before they end, or from nothing.
        """
        done, executions, credit, reserved = await self._end(
            [*hold_keys(account), grants_key(account), PREPAID], [account, int(force)]
        )
        return Ended(
            done=bool(done),
            executions=executions,
            credit=to_usd(int(credit)) if credit else None,
            reserved=to_usd(int(reserved)),
        )

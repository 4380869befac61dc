"""The keyring: API keys that are made and revoked while everything runs, in Redis.

Beside those of ``MACHPAY_API_KEYS`` (:mod:`shared.accounts`), which last as long as their processes. A key
is shown once, when it is made; what is kept of it is its digest, under which it is found: how long that
takes says nothing about the key that was asked for. There is no cache: what is revoked is revoked.
"""

import base64
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from shared.accounts import ACCOUNT, digest_of
from shared.keys import API_KEYS, KEYED_ACCOUNTS
from shared.redis import Client, load_script

PREFIX: Final = "mp_"
"""What each key begins with, so that people and scanners know one when they see it."""

LONGEST_NAME: Final = 80

_RANDOM_BYTES: Final = 25  # 200 bits; 40 characters of base32, without padding
_KEY: Final = re.compile(r"mp_[a-z2-7]{40}")
_AT_ONCE: Final = 1000


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key.

    Attributes:
        id: What names it, to people and in ``revoke``.
        account: Whose it is.
        operator: Whether it may also see what the deployment does, and all executions.
        name: What its maker calls it; may be empty.
        created_at: In ms since the epoch.
    """

    id: str
    account: str
    operator: bool = False
    name: str = ""
    created_at: Annotated[int, Meta(ge=0)] = 0


_decode: Final = msgspec.json.Decoder(Key).decode


class Keyring:
    """Makes, finds and revokes keys.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._change = load_script(redis, "shared", "keyring.lua")

    async def create(
        self, account: str, *, operator: bool = False, name: str = ""
    ) -> tuple[str, Key]:
        """Make a key.

        Args:
            account: Whose it is: 1 to 64 of A-Z a-z 0-9 . _ -
            operator: As for :class:`Key`.
            name: The same; at most :data:`LONGEST_NAME` printable characters.

        Returns:
            The key itself, which is nowhere else, and what is kept of it.

        Raises:
            ValueError: The account or the name is none that a key can have.
            redis.exceptions.RedisError: Redis can't be reached.
        """
        if not ACCOUNT.fullmatch(account):
            raise ValueError("an account is 1 to 64 of A-Z a-z 0-9 . _ -")
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"a name has at most {LONGEST_NAME} printable characters")
        shown = PREFIX + _random(_RANDOM_BYTES)
        kept = Key(
            id=f"key_{_random(10)}",
            account=account,
            operator=operator,
            name=name,
            created_at=time.time_ns() // 1_000_000,
        )
        await self._change(
            [API_KEYS, KEYED_ACCOUNTS], [digest_of(shown).hex(), account, msgspec.json.encode(kept)]
        )
        return shown, kept

    async def keys(self, account: str = "") -> list[Key]:
        """List the keys, oldest first.

        Args:
            account: Whose; empty: everybody's.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        found = [key for key in (await self._all()).values() if account in ("", key.account)]
        return sorted(found, key=lambda key: (key.created_at, key.id))

    async def revoke(self, named: str) -> Key | None:
        """Take a key away: the next request with it is refused.

        Args:
            named: Its id; or the key itself, for who found it where it should not be.

        Returns:
            What was kept of it; ``None`` if there is no such key.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        shown = digest_of(named).hex() if is_key(named) else ""
        for digest, key in (await self._all()).items():
            if shown == digest or key.id == named:
                await self._change([API_KEYS, KEYED_ACCOUNTS], [digest, key.account, ""])
                return key
        return None

    async def find(self, digest: str) -> Key | None:
        """Find what is kept of a key; ``None``: it is none of ours, or not any more.

        Args:
            digest: The key's, as :func:`shared.accounts.digest_of` has it, in hexadecimal.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        record = await self._redis.hget(API_KEYS, digest)  # type: ignore[misc]
        return None if record is None else _decode(record)

    async def gone(self, digests: Sequence[str]) -> set[str]:
        """Tell which keys are none any more.

        Args:
            digests: As for :meth:`find`.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        gone = set[str]()
        for some in _portions(digests):
            records = await self._redis.hmget(API_KEYS, some)  # type: ignore[misc]
            gone.update(
                digest for digest, record in zip(some, records, strict=True) if record is None
            )
        return gone

    async def without(self, accounts: Sequence[str]) -> set[str]:
        """Tell which accounts have no key here.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        none = set[str]()
        for some in _portions(accounts):
            counts = await self._redis.hmget(KEYED_ACCOUNTS, some)  # type: ignore[misc]
            none.update(
                account for account, count in zip(some, counts, strict=True) if int(count or 0) <= 0
            )
        return none

    async def was_used(self) -> bool:
        """Tell whether there is a key, or was one: then nobody is let in without one.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        return bool(await self._redis.exists(KEYED_ACCOUNTS))

    async def _all(self) -> dict[str, Key]:
        """Read all keys, each by its digest."""
        found = {}
        async for digest, record in self._redis.hscan_iter(API_KEYS, count=_AT_ONCE):
            found[digest.decode()] = _decode(record)
        return found


def is_key(text: str) -> bool:
    """Tell whether a text has the form of a key that the keyring made."""
    return _KEY.fullmatch(text) is not None


def _random(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().lower()


def _portions(names: Sequence[str]) -> Iterator[list[str]]:
    return (list(names[at : at + _AT_ONCE]) for at in range(0, len(names), _AT_ONCE))

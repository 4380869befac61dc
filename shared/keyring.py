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


SHORTEST_DIGEST: Final = 12
"""So much of a damaged record's digest names it."""

_parse: Final = msgspec.json.Decoder(Key).decode


def _decode(record: bytes) -> Key | None:
    """Read a record; ``None``: it is damaged, or of a release that we don't know."""
    try:
        return _parse(record)
    except (ValueError, RecursionError):  # UnicodeDecodeError, too
        return None


def _salvage(digest: str, record: bytes) -> Key:
    """Make of a damaged record what can be told of it: its digest's beginning, perhaps its account."""
    try:
        account = msgspec.json.decode(record)["account"]
    except (ValueError, RecursionError, LookupError, TypeError):
        account = ""
    return Key(
        id=digest[:SHORTEST_DIGEST],
        account=account if isinstance(account, str) and ACCOUNT.fullmatch(account) else "",
    )


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
        keys = [_decode(record) for record in (await self._all()).values()]
        found = [key for key in keys if key is not None and account in ("", key.account)]
        return sorted(found, key=lambda key: (key.created_at, key.id))

    async def damaged(self) -> list[str]:
        """List the digests, in hexadecimal, of keys whose records can't be read: nobody is let in by them.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        return sorted(digest for digest, one in (await self._all()).items() if _decode(one) is None)

    async def revoke(self, named: str) -> Key | None:
        """Take a key away: the next request with it is refused.

        Args:
            named: Its id; or the key itself, for who found it where it should not be; or, of one
                whose record is damaged, :data:`SHORTEST_DIGEST` characters or more of its digest.

        Returns:
            What was kept of it; ``None`` if there is no such key. A damaged one's id is the beginning of
            its digest, and its account may be empty: then what that account's keys are counted as
            stays one too high.

        Raises:
            redis.exceptions.RedisError: Redis can't be reached.
        """
        found = await self._named(named)
        if found is None:
            return None
        digest, record = found
        key = _decode(record) or _salvage(digest, record)
        changed = await self._change([API_KEYS, KEYED_ACCOUNTS], [digest, key.account, ""])
        return key if changed else None

    async def _named(self, named: str) -> tuple[str, bytes] | None:
        if is_key(named):
            digest = digest_of(named).hex()
            record = await self._redis.hget(API_KEYS, digest)  # type: ignore[misc]
            return None if record is None else (digest, record)
        for digest, record in (await self._all()).items():
            key = _decode(record)
            if key.id == named if key else _begins(digest, named):
                return digest, record
        return None

    async def find(self, digest: str) -> Key | None:
        """Find what is kept of a key; ``None``: it is none of ours, not any more, or damaged.

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
        return bool(await self._redis.exists(API_KEYS, KEYED_ACCOUNTS))

    async def _all(self) -> dict[str, bytes]:
        """Read all records, each by its digest."""
        found = {}
        async for digest, record in self._redis.hscan_iter(API_KEYS, count=_AT_ONCE):
            found[digest.decode(errors="backslashreplace")] = record
        return found


def is_key(text: str) -> bool:
    """Tell whether a text has the form of a key that the keyring made."""
    return _KEY.fullmatch(text) is not None


def _begins(digest: str, named: str) -> bool:
    return len(named) >= SHORTEST_DIGEST and digest.startswith(named)


def _random(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().lower()


def _portions(names: Sequence[str]) -> Iterator[list[str]]:
    return (list(names[at : at + _AT_ONCE]) for at in range(0, len(names), _AT_ONCE))

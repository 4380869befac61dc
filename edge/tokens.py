"""Stream tokens: what an account lends to a browser, for one execution or one skill.

A JSON Web Token (RFC 7519), signed with HMAC-SHA256 and a secret that all edges share:
``MACHPAY_TOKEN_SECRET``; without one, they share a random one that the first of them left in Redis.
Nothing is kept of a token but which executions it started (``admit.lua``).
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import jwt
from msgspec import UNSET

from edge.reach import reachable
from machpay._options import Options
from machpay.serve.callers import Token
from machpay.serve.executions import (
    ApiError,
    SkillInfo,
    StartRequest,
    Unavailable,
    unauthorized,
)
from machpay.serve.schemas import StreamToken
from shared.keys import TOKEN_SIGNER, token_key
from shared.redis import Client, load_script

READS_FOR: Final = 3600.0
"""How long a token reads, in s, unless it is told; beyond what its execution may take, where it comes
with a start."""

STARTS_FOR: Final = 600.0
"""How long a token starts, in s, unless it is told."""

LOOK_EVERY: Final = 30.0
"""How often an edge looks whether the secret that edges share is still the same, in s."""

LOOK_ANEW: Final = 1.0
"""How often it looks because of a token that is not good, in s."""

_LONGEST_TEXT: Final = 2048
_COUNTED: Final = 2
_ALGORITHM: Final = "HS256"
_AUDIENCE: Final = "machpay-stream"
_REQUIRED: Final = ["exp", "aud", "jti", "sub"]


class Tokens:
    """Makes and checks tokens.

    Args:
        redis: The queue's Redis.
        secret: What signs them, at least 32 characters; several separated by commas: the first signs,
            all are good. Empty: the one that edges share.
    """

    def __init__(self, redis: Client, secret: str) -> None:
        self._redis = redis
        self._admit = load_script(redis, "edge", "admit.lua")
        self._keys = [_digest(part) for part in secret.encode().split(b",") if part]
        self._given = bool(self._keys)
        self._shared = b""
        self._look_again = 0.0
        self._looked = 0.0

    async def to_read(
        self, account: str, execution_id: str, lasts: float, *, key: str = ""
    ) -> StreamToken:
        """Make a token that reads an execution.

        Args:
            account: Whose the execution is.
            execution_id: The execution.
            lasts: For how long, in s.
            key: The digest of the key it is made with, in hexadecimal, if any: as :class:`Token` has it.

        Raises:
            Unavailable: The secret can't be read.
        """
        until = time.time() + lasts
        claims = {"sub": account, "exp": until, "execution": execution_id}
        token = await self._sign(claims, key)
        return StreamToken(token=token, expires_at=int(until * 1000), execution_id=execution_id)

    async def to_start(
        self,
        account: str,
        skill: SkillInfo,
        lasts: float,
        max_starts: int,
        options: Options,
        *,
        key: str = "",
    ) -> StreamToken:
        """Make a token that starts a skill, and reads and cancels what it started.

        Args:
            account: For whom.
            skill: The skill.
            lasts: For how long it starts, in s. It reads longer: until the last execution that it
                started must have ended, and some more.
            max_starts: How many executions it starts.
            options: The longest that each may run, and the most that it may cost.
            key: As for :meth:`to_read`.

        Raises:
            Unavailable: As for :meth:`to_read`.
        """
        until = time.time() + lasts
        claims = {
            "sub": account,
            "exp": until + skill.queue_timeout + skill.timeout + READS_FOR,
            "until": until,
            "skill": skill.id,
            "max": max_starts,
            "timeout": options.timeout,
            "cost": None if options.max_cost_usd is None else f"{options.max_cost_usd:f}",
        }
        return StreamToken(
            token=await self._sign(claims, key),
            expires_at=int(until * 1000),
            skill_id=skill.id,
            max_starts=max_starts,
            timeout=UNSET if options.timeout is None else options.timeout,
            max_cost_usd=UNSET if options.max_cost_usd is None else options.max_cost_usd,
        )

    async def read(self, text: str) -> Token | None:
        """Read a token; ``None`` when it is none of ours, or not any more.

        Raises:
            Unavailable: As for :meth:`to_read`.
        """
        if len(text) > _LONGEST_TEXT:
            return None
        token = _checked(text, await self._secrets())
        if token is None and not self._given and time.monotonic() >= self._looked + LOOK_ANEW:
            # Perhaps signed with a secret that took the place of ours.
            self._look_again = 0.0
            token = _checked(text, await self._secrets())
        return token

    async def admit(self, asked: StartRequest, token: Token) -> bool:
        """Count a start, once, however often it is repeated.

        Returns:
            Whether it was counted now, and not before.

        Raises:
            ApiError: 401 ``unauthorized``: the token is too old to start anything new. 403
                ``forbidden``: it has started all that it may.
            Unavailable: That can't be told.
        """
        left = token.starts_until - time.time()
        may_start = token.max_starts if left > 0 else 0
        kept = max(left, 0.0) + asked.skill.queue_timeout + asked.skill.timeout + READS_FOR
        async with reachable():
            admitted = await self._admit(
                [token_key(token.id)], [asked.execution_id(), may_start, int(kept * 1000)]
            )
        if not admitted:
            if not may_start:
                raise unauthorized()
            raise ApiError(403, "forbidden", "This token has started all that it may.")
        return bool(admitted == _COUNTED)

    async def dismiss(self, asked: StartRequest, token: Token) -> None:
        """Count a start no more, of which nothing came.

        Raises:
            Unavailable: That can't be done.
        """
        async with reachable():
            await self._redis.srem(token_key(token.id), asked.execution_id())  # type: ignore[misc]

    async def started(self, token: Token, execution_id: str) -> bool:
        """Tell whether a token started an execution.

        Raises:
            Unavailable: That can't be told.
        """
        async with reachable():
            return bool(await self._redis.sismember(token_key(token.id), execution_id))  # type: ignore[misc]

    async def _sign(self, claims: dict[str, Any], key: str) -> str:
        (signer, *_) = await self._secrets()
        token_id = secrets.token_urlsafe(16)
        whole = {**claims, "aud": _AUDIENCE, "jti": token_id}
        if key:
            whole["key"] = _veiled(key, signer, token_id)
        return jwt.encode(whole, signer, algorithm=_ALGORITHM)

    async def _secrets(self) -> list[bytes]:
        if not self._given and time.monotonic() >= self._look_again:
            try:
                async with reachable():
                    await self._share()
            except Unavailable:
                if not self._keys:
                    raise
            self._looked = time.monotonic()
            self._look_again = self._looked + LOOK_EVERY
        return self._keys

    async def _share(self) -> None:
        """Agree with the other edges on a secret; with a Redis that lost it, on the one we had."""
        mine = self._shared or secrets.token_urlsafe(32).encode()
        await self._redis.set(TOKEN_SIGNER, mine, nx=True)
        ours = await self._redis.get(TOKEN_SIGNER)
        if ours and ours != self._shared:
            self._shared = ours
            self._keys = [_digest(ours), *self._keys][:2]


def _checked(text: str, keys: Iterable[bytes]) -> Token | None:
    """Read a token that one of some keys signed."""
    for key in keys:
        try:
            claims = jwt.decode(
                text,
                key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidSignatureError:
            continue  # perhaps the next one
        except jwt.InvalidTokenError:
            return None
        return Token(
            id=claims["jti"],
            account=claims["sub"],
            execution_id=claims.get("execution", ""),
            skill_id=claims.get("skill", ""),
            max_starts=claims.get("max", 1),
            timeout=claims.get("timeout"),
            max_cost_usd=None if claims.get("cost") is None else Decimal(claims["cost"]),
            starts_until=claims.get("until", 0.0),
            key=_veiled(claims["key"], key, claims["jti"]) if claims.get("key") else "",
        )
    return None


def _digest(secret: bytes) -> bytes:
    # As long as the algorithm wants its key, whatever the operator wrote.
    return hashlib.sha256(secret.strip()).digest()


def _veiled(digest: str, signer: bytes, token_id: str) -> str:
    """Veil a key's digest, or unveil it: who has the token must not be able to try keys against it.

    A one-time pad that nobody makes without the secret, and no two tokens have the same.
    """
    pad = hmac.digest(signer, f"the key of {token_id}".encode(), "sha256")
    return bytes(a ^ b for a, b in zip(bytes.fromhex(digest), pad, strict=True)).hex()

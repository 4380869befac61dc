"""Access at an edge: API keys and stream tokens, or, where there are no keys, everybody."""

from collections.abc import Collection
from contextlib import suppress
from typing import ClassVar, Final

from starlette.requests import Request

from edge.door import Door
from edge.listening import is_local
from edge.reach import reachable
from edge.tokens import READS_FOR, Tokens
from machpay.serve.access import Access
from machpay.serve.callers import Caller, Token, note_caller
from machpay.serve.executions import (
    ApiError,
    StartRequest,
    Unavailable,
    execution_not_found,
    unauthorized,
)
from shared.accounts import Accounts, digest_of
from shared.keyring import Keyring, is_key

_BEARER: Final = "bearer "
_REMOTE: Final = (
    "Without API keys this server serves its own machine only: make one with python -m ops keys create, "
    "or set MACHPAY_API_KEYS."
)


class KeyAccess(Access):
    """Access for who shows a key or a token.

    ``Authorization: Bearer`` has either. ``?token=`` has a token, for an EventSource, which can't set
    headers; a key in a URL would end up in histories and logs. The header wins.

    As long as the door is open, everybody is the account ``default`` and its operator.

    Args:
        accounts: The keys that last as long as this process.
        keyring: Those that come and go: each request looks anew.
        door: Whether there are any.
        tokens: The stream tokens.
        origins: As for :class:`machpay.serve.access.Access`.
    """

    rebound: ClassVar = (
        "Without API keys this server answers to localhost and to IP addresses only: set "
        "MACHPAY_API_KEYS, or name the host's origin in MACHPAY_CORS_ORIGINS."
    )

    def __init__(
        self,
        accounts: Accounts,
        keyring: Keyring,
        door: Door,
        tokens: Tokens,
        *,
        origins: Collection[str] = (),
    ) -> None:
        super().__init__(origins=origins, local=True)
        self._accounts = accounts
        self._keyring = keyring
        self._door = door
        self._tokens = tokens

    async def identify(self, request: Request) -> Caller:
        """Tell who makes a request.

        Raises:
            ApiError: 401 ``unauthorized``: no key and no token, or one that is wrong or expired.
            ApiError: 403 ``forbidden``: there are no keys, and the request is from elsewhere.
            Unavailable: That can't be told right now.
        """
        caller = await self._find(request)
        note_caller(request.scope, caller)
        return caller

    async def _find(self, request: Request) -> Caller:
        header = request.headers.get("authorization", "")
        shown = header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else ""
        caller = await self._holder(shown)
        if caller is not None:
            return caller
        await self._door.knows()
        if self._door.is_open and not is_local(request.scope.get("server")):
            raise ApiError(403, "forbidden", _REMOTE)
        shown = shown or request.query_params.get("token", "")
        token = await self._tokens.read(shown) if shown else None
        if token is not None and await self._is_good(token):
            return Caller(account=token.account, token=token, key=token.key, credential=True)
        if self._door.is_closed or "token" in request.query_params:
            raise unauthorized()
        return await super().identify(request)

    async def _holder(self, shown: str) -> Caller | None:
        """Find whose a key is, if it can be one."""
        if not shown:
            return None
        digest = digest_of(shown).hex()
        if not is_key(shown) and self._accounts.find(digest) is None:
            return None
        return await self._holder_of(digest)

    async def _holder_of(self, digest: str) -> Caller | None:
        """Find whose a key is by its digest."""
        account = self._accounts.find(digest)
        if account is not None:
            return Caller(
                account=account.name, operator=account.operator, key=digest, credential=True
            )
        async with reachable():
            key = await self._keyring.find(digest)
        if key is None:
            return None
        self._door.close()
        return Caller(account=key.account, operator=key.operator, key=digest, credential=True)

    async def _is_good(self, token: Token) -> bool:
        """Tell whether the key that a token was made with is one, and its account has one; or nobody has."""
        if self._door.is_open:
            return True
        if token.key:
            holder = await self._holder_of(token.key)
            if holder is None or holder.account == token.account:
                return holder is not None
            # An operator's, who lent it for what is another account's.
        if self._accounts.has(token.account):
            return True
        async with reachable():
            return not await self._keyring.without([token.account])

    async def admit(self, asked: StartRequest) -> bool:
        """Let a start through, if its token has one left."""
        return asked.token is not None and await self._tokens.admit(asked, asked.token)

    async def dismiss(self, asked: StartRequest) -> None:
        """Give its token back a start of which nothing came."""
        if asked.token is not None:
            with suppress(Unavailable):  # then it is lost, but nothing is started twice
                await self._tokens.dismiss(asked, asked.token)

    async def reach(self, caller: Caller, execution_id: str) -> None:
        """Let a caller reach an execution, if their token is for it."""
        token = caller.token
        if token is None or token.execution_id == execution_id:
            return
        if not token.skill_id or not await self._tokens.started(token, execution_id):
            raise execution_not_found()

    async def lend(self, asked: StartRequest, execution_id: str) -> str | None:
        """Make a token that reads an execution; ``None`` if that is not to be had right now."""
        lasts = asked.skill.queue_timeout + asked.skill.timeout + READS_FOR
        try:
            lent = await self._tokens.to_read(asked.account, execution_id, lasts, key=asked.key)
        except Unavailable:
            return None  # it is started: that is what counts
        return lent.token

"""Who makes a request, and what they may do.

A skill server serves everybody who reaches it: :class:`Access` as it is. An edge asks for keys and
stream tokens: ``edge.access``.
"""

from collections.abc import Collection
from typing import ClassVar, Final
from urllib.parse import urlsplit

from msgspec import structs
from starlette.requests import Request

from machpay.serve.callers import Caller, Token
from machpay.serve.executions import ApiError, StartRequest
from machpay.serve.hosts import Hosts

_OURS: Final = ("none", "same-origin")


class Access:
    """Access for everybody, but for pages of other sites.

    Args:
        origins: Origins whose pages may do what our own may, e.g. ``https://app.example``; ``*`` is any.
        local: It is for this machine alone: no site's name may lead to it but those of the origins (see
            :mod:`machpay.serve.hosts`).

    Attributes:
        rebound: What to say to a request that came by another name.
    """

    rebound: ClassVar[str] = (
        "On loopback, this server answers to localhost and to IP addresses only: name the host's origin "
        "in its origins."
    )

    def __init__(self, *, origins: Collection[str] = (), local: bool = False) -> None:
        self._origins = frozenset(origins)
        self._hosts = Hosts(self._origins) if local else None

    async def identify(self, request: Request) -> Caller:
        """Tell who makes a request.

        Raises:
            ApiError: 401 ``unauthorized``; 403 ``forbidden``: by a name that is not ours.
            Unavailable: That can't be told right now.
        """
        if self._hosts is not None and not self._hosts.has(request):
            raise ApiError(403, "forbidden", self.rebound)
        return Caller(operator=True)

    async def acting(self, request: Request) -> Caller:
        """Tell who makes a request that changes something.

        Raises:
            ApiError: As for :meth:`identify`; 403 ``forbidden``, see :func:`refuse_other_sites`.
            Unavailable: As there.
        """
        caller = await self.identify(request)
        if not caller.credential:
            refuse_other_sites(request, self._origins)
        return caller

    async def admit(self, asked: StartRequest) -> bool:  # noqa: ARG002 - for those who count
        """Let a start through, or not.

        Returns:
            Whether it was counted now, and not before: if nothing comes of it, :meth:`dismiss` it.

        Raises:
            ApiError: 403 ``forbidden``: its token has started all that it may.
            Unavailable: That can't be told right now.
        """
        return False

    async def dismiss(self, asked: StartRequest) -> None:
        """Count a start no more that was admitted, and of which nothing came."""

    async def reach(self, caller: Caller, execution_id: str) -> None:
        """Let a caller reach an execution; whose it is, is found out where it is read.

        Raises:
            ApiError: 404 ``execution_not_found``: the caller's token is not for it.
            Unavailable: That can't be told right now.
        """

    async def lend(self, asked: StartRequest, execution_id: str) -> str | None:  # noqa: ARG002 - as above
        """Make a token that reads an execution that was started; ``None`` where none is needed."""
        return None


def needs_key(caller: Caller) -> Caller:
    """Pass a caller on who acts for an account, not by a token.

    Raises:
        ApiError: 403 ``forbidden``.
    """
    if caller.token is not None:
        raise ApiError(403, "forbidden", "This needs an API key: a stream token can't do it.")
    return caller


def needs_operator(caller: Caller) -> Caller:
    """Pass a caller on who may see what the whole deployment does.

    Raises:
        ApiError: 403 ``forbidden``.
    """
    if not needs_key(caller).operator:
        raise ApiError(403, "forbidden", "This is for operators: it needs a key of one.")
    return caller


def may_cancel(caller: Caller) -> Caller:
    """Pass a caller on who may stop what they may read.

    Raises:
        ApiError: 403 ``forbidden``: the caller's token reads, and no more.
    """
    if caller.token is not None and not caller.token.skill_id:
        raise ApiError(403, "forbidden", "This token reads, and does nothing else.")
    return caller


def knows_skill(caller: Caller, skill_id: str) -> bool:
    """Tell whether a caller may know a skill: a token's world is the skill that it may start."""
    return caller.token is None or caller.token.skill_id == skill_id


def narrowed(asked: StartRequest, token: Token | None) -> StartRequest:
    """Make of a start what a token allows of it.

    A key is one within the token: nobody's can be another visitor's. A token that starts once is its
    start's name.

    Args:
        asked: The start.
        token: The caller's token, if they have one.

    Raises:
        ApiError: 403 ``forbidden``: the token can't start that.
    """
    if token is None:
        return asked
    if token.skill_id != asked.skill.id or asked.chosen_id is not None:
        raise ApiError(403, "forbidden", "This token can't start that.")
    key = asked.idempotency_key
    if key is not None or token.max_starts == 1:
        key = f"{token.id}:{key or ''}"
    options = asked.options
    if token.timeout is not None:
        options = structs.replace(options, timeout=options.limit(token.timeout))
    if token.max_cost_usd is not None:
        options = structs.replace(options, max_cost_usd=options.cap(token.max_cost_usd))
    return structs.replace(asked, idempotency_key=key, options=options, token=token)


def refuse_other_sites(request: Request, origins: Collection[str]) -> None:
    """Refuse what another site's page made its visitor's browser send.

    For callers who show no credential: a GET needs no permission to be sent, an ``<img>`` would do, and
    a form can post text that is JSON. Browsers say where a request comes from: in ``Sec-Fetch-Site``
    (Fetch Metadata) to us when we are on https or loopback, in ``Origin`` with anything but a GET.
    Other clients say nothing.

    Args:
        request: The request.
        origins: Origins that are welcome.

    Raises:
        ApiError: 403 ``forbidden``.
    """
    origin = request.headers.get("origin")
    if origin is not None and ("*" in origins or origin in origins):
        return
    site = request.headers.get("sec-fetch-site")
    ours = site in _OURS if site is not None else origin is None or _same_host(origin, request)
    if not ours:
        raise ApiError(403, "forbidden", "Pages of other sites can't do this here.")


def _same_host(origin: str, request: Request) -> bool:
    # The scheme may differ: a proxy in front of us speaks TLS, and we don't know.
    return urlsplit(origin).netloc == request.headers.get("host")

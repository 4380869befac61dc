"""The settings: one frozen object, read once from ``MACHPAY_*`` variables when a process starts.

``deploy/.env.example`` documents every variable for operators. Nothing below this module reads the
environment.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Meta

from shared.accounts import Accounts
from shared.nano import MOST_USD

PREFIX: Final = "MACHPAY_"

SHORTEST_SECRET: Final = 32

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


class SettingsError(Exception):
    """A variable has a wrong value; the message is one line that names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What edge, workers and ops are told by their environment.

    Every attribute is the variable ``MACHPAY_<ATTRIBUTE>``.

    Attributes:
        redis_url: The queue's Redis; also the logs', unless ``log_redis_url`` says otherwise.
        log_redis_url: The logs' Redis. Empty: the same one.
        skills: What a worker runs: ``package.module:name``, comma separated.
        remote_skills: Skill servers whose skills a worker runs, too: base URLs, comma separated.
        max_jobs: How many executions one worker runs at once.
        lease: How long a worker's right to an execution outlives its last renewal, in s.
        grace: How long running executions may go on after SIGTERM, in s.
        retention: How long a log is kept after its terminal event, in s.
        default_skill: What ``/api/stream`` runs when a request names no skill. Empty: the only one.
        api_keys: Who may call the edges, see :mod:`shared.accounts`, beside the keys in Redis.
        token_secret: What signs stream tokens: at least 32 characters, several separated by commas: the
            first signs, all are good. Empty: a random one, shared through Redis.
        cors_origins: Origins whose pages may call the edges, comma separated; ``*`` is any.
        pages: Whether an edge serves the pages for people: the playground at ``/``, and ``/ops``.
        max_body_bytes: The largest request body an edge reads.
        account_executions: How many executions of one account may run at once; 0: any number.
        starts_per_minute: How often one account may start; 0: any number of times.
        input_bytes: The largest input, in bytes of JSON; 0: whatever the body may have.
        reserve_usd: What a start of an account with credit reserves beyond the base price, when it names
            no ``max_cost_usd``, in USD.
        heartbeat: After how much silence a stream gets a heartbeat, in s.
        send_timeout: After how long a reader that takes nothing is cut, in s.
        max_connection_age: About how old a stream's connection may become, in s.
        drain_window: Over how long an edge closes its streams after SIGTERM, in s.
        log_level: Of the process's own log.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    log_redis_url: str = ""
    skills: str = ""
    remote_skills: str = ""
    max_jobs: Annotated[int, Meta(ge=1, le=10_000)] = 100
    lease: Annotated[float, Meta(ge=2, le=300)] = 10.0
    grace: Annotated[float, Meta(ge=0, le=86_400)] = 25.0
    retention: Annotated[float, Meta(ge=1, le=31_536_000)] = 3600.0
    default_skill: str = ""
    api_keys: str = ""
    token_secret: str = ""
    cors_origins: str = ""
    pages: bool = True
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 1 << 20
    account_executions: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    starts_per_minute: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    input_bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    reserve_usd: Decimal = Decimal(1)
    heartbeat: Annotated[float, Meta(ge=1, le=300)] = 15.0
    send_timeout: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    # As the schemas of the HTTP API write it: to typing, which keeps what it has made, 1 is 1.0, and which of
    # them openapi.json has must not hang on what was imported first.
    max_connection_age: Annotated[float, Meta(ge=1.0, le=86_400.0)] = 900.0
    drain_window: Annotated[float, Meta(ge=0, le=3600)] = 3.0
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"

    @property
    def log_retention(self) -> float:
        """How long a log is kept after its terminal event, in s, whatever was set.

        Whoever takes over from a worker that died before it wrote the ledger's row needs the log for that.
        """
        return max(self.retention, 3 * self.lease)

    @property
    def logs_url(self) -> str:
        """The Redis that holds the logs."""
        return self.log_redis_url or self.redis_url

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of ``cors_origins``."""
        return tuple(filter(None, map(str.strip, self.cors_origins.split(","))))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings.

        A variable that is set but empty counts as not set: that is what ``.env`` files and
        container platforms make of "no value".

        Args:
            environ: Usually ``os.environ``.

        Raises:
            SettingsError: A value is wrong.
        """
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            name = PREFIX + field.name.upper()
            raw = environ.get(name, "").strip()
            if not raw:
                continue
            try:
                values[field.name] = msgspec.convert(raw, field.type, strict=False)
            except msgspec.ValidationError as error:
                raise SettingsError(f"{name}={raw!r}: {error}") from None
            check = _CHECKS.get(field.name)
            if check is not None:
                try:
                    check(raw)
                except ValueError as error:
                    raise SettingsError(f"{name}: {error}") from None
        return cls(**values)


def _check_url(raw: str) -> None:
    """Refuse a URL that could only fail later, far from its cause; never echo its password.

    No options but ``db``: redis-py would let them override what we rely on (time-outs, decoding).
    """
    try:
        parts = urlsplit(raw)
        options = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        database = options.pop("db", "0")
        if parts.scheme == "unix":
            usable = parts.path not in ("", "/")
        else:
            usable = parts.scheme in ("redis", "rediss") and bool(parts.hostname)
            usable = usable and (parts.path.removeprefix("/") or "0").isdecimal()
        usable = usable and not options and database.isdecimal() and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            "not a Redis URL; expected redis://[user]:[password]@host:port/db, the same "
            "with rediss:// for TLS, or unix:///path?db=0"
        )


def _check_secret(raw: str) -> None:
    if any(len(secret.strip()) < SHORTEST_SECRET for secret in raw.split(",")):
        raise ValueError(f"a secret has at least {SHORTEST_SECRET} characters")


def _check_usd(raw: str) -> None:
    usd = Decimal(raw)
    if not usd.is_finite() or not 0 < usd <= MOST_USD:
        raise ValueError(f"an amount is more than 0 USD, and at most {MOST_USD:f}")


def _check_origins(raw: str) -> None:
    """Refuse what no browser would send as its origin (RFC 6454, 6.1): it would never match."""
    for origin in filter(None, map(str.strip, raw.split(","))):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin[:80]!r} is not an origin, as https://app.example or *")


_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "redis_url": _check_url,
    "log_redis_url": _check_url,
    "api_keys": Accounts,
    "token_secret": _check_secret,
    "cors_origins": _check_origins,
    "reserve_usd": _check_usd,
}
"""What else is wrong with a value: raises ValueError, and repeats no secret."""

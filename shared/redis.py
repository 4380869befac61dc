"""Connections to Redis: the one place that knows about time-outs, retries and pools."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from importlib.resources import files
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec
from arq.connections import ArqRedis
from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

from shared.line import Answered, Line

Client: TypeAlias = Redis

COMMAND_TIMEOUT: Final = 5.0
"""How long one command may take, in s; blocking commands ask for less than this."""

CONNECT_TIMEOUT: Final = 2.0
"""How long opening a connection may take, in s."""

_BLOCKING: Final = frozenset({"BLPOP", "BRPOP", "BLMOVE", "BZPOPMIN", "XREAD", "WAIT"})
"""Commands that may block in Redis: everything behind them on a line would wait."""

_AWAY: Final = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    OSError,
)
_AWAY_WORDS: Final = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
)
_in_pipeline: Final = re.compile(
    r"Command # \d+ .* of pipeline caused error: (?=[A-Z]+ )", re.DOTALL
)


def is_away(error: BaseException) -> bool:
    """Tell whether Redis is away, starting, failing over, busy or full: wait, and try again.

    Anything else is a mistake of ours (or of whoever wrote to our keys) that waiting won't mend.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_away, error.exceptions))
    if isinstance(error, _AWAY):
        return True
    # redis-py puts words of its own in front of an error inside a pipeline.
    return isinstance(error, ResponseError) and _in_pipeline.sub("", str(error)).startswith(
        _AWAY_WORDS
    )


class _ClosedIsAway:
    """Makes a write to a closed connection a ``ConnectionError`` on every event loop.

    asyncio's transports drop such a write, and the read that follows tells. uvloop's raise
    RuntimeError ("the handler is closed"), which redis-py passes on: an outage would look like a
    mistake of ours, and end executions.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send a command."""
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except RuntimeError as error:
            raise ConnectionError(str(error)) from error


class _Tcp(_ClosedIsAway, Connection):
    pass


class _Tls(_ClosedIsAway, SSLConnection):
    pass


class _Unix(_ClosedIsAway, UnixDomainSocketConnection):
    pass


def _options(url: str) -> dict[str, Any]:
    """Read a URL's options, as redis-py does, but for the class of connection that it says."""
    options: dict[str, Any] = {**parse_url(url), "socket_connect_timeout": CONNECT_TIMEOUT}
    scheme = url.partition(":")[0]
    options["connection_class"] = {"rediss": _Tls, "unix": _Unix}.get(scheme, _Tcp)
    if scheme != "unix":
        options["socket_keepalive"] = True
    return options


class Script(Protocol):
    """A Lua script, loaded on first use."""

    def __call__(self, keys: list[str], args: list[Any]) -> Awaitable[Any]:
        """Run it."""
        ...

    def send(self, keys: list[str], args: list[Any], answered: Answered) -> None:
        """Have it run, without waiting and without trying twice."""
        ...


class _OverALine:
    """Makes a redis-py client send what does not block over one :class:`~shared.line.Line`.

    Only its blocking commands and pipelines take connections from the pool.

    Attributes:
        line: That one.
    """

    line: Line

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and parse its reply."""
        name = args[0]
        if name in _BLOCKING:
            return await super().execute_command(*args, **options)  # type: ignore[misc]
        reply = await self.line.execute((*name.split(), *args[1:]) if " " in name else args)
        callback = self.response_callbacks.get(name)  # type: ignore[attr-defined]
        if callback is None:
            return reply
        options.pop("keys", None)  # for redis-py's own cache
        return callback(reply, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        self.line.close()
        await super().aclose(close_connection_pool)  # type: ignore[misc]


class _Client(_OverALine, Redis):  # type: ignore[misc] # redis-py's own mixins disagree
    pass


class _QueueClient(_OverALine, ArqRedis):  # type: ignore[misc] # the same
    pass


def connect(url: str) -> Client:
    """Make a client for short commands.

    A command that meets a dead connection is sent again, twice at most, so that a pooled connection
    that Redis closed is nobody's error. Every script of ours may be repeated (a pick whose answer
    is lost leaves its jobs to the next one, a lease later). Longer outages are the caller's
    business, who knows how long it may wait.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
    """
    client = cast(_Client, _Client.from_pool(_pool(url)))
    client.line = _line(url)
    return client


def connect_queue(url: str) -> ArqRedis:
    """Make the queue's client: arq's, with msgpack where arq has pickle.

    Args:
        url: As for :func:`connect`.
    """
    client = _QueueClient(
        _pool(url),
        job_serializer=encode_job,
        job_deserializer=msgspec.msgpack.decode,
    )
    client.line = _line(url)
    return client


def encode_job(value: Any) -> bytes:
    """Encode what arq stores; an exception becomes its ``repr``, never a pickle."""
    return msgspec.msgpack.encode(value, enc_hook=repr)


def dedicated_connection(url: str) -> Connection:
    """Make a single connection outside any pool, for a :class:`~shared.wire.Wire`. Not yet connected.

    Args:
        url: As for :func:`connect`.
    """
    pool = ConnectionPool(**_options(url), socket_timeout=CONNECT_TIMEOUT)
    connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


class _LineScript:
    """Runs a script over a line, with as little in between as there can be.

    Args:
        line: The line.
        source: In Lua.
    """

    def __init__(self, line: Line, source: str) -> None:
        self._line = line
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Run it."""
        try:
            return await self._line.execute(("EVALSHA", self._sha, len(keys), *keys, *args))
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self._line.execute(("EVAL", self._source, len(keys), *keys, *args))

    def send(self, keys: list[str], args: list[Any], answered: Answered) -> None:
        """Have it run."""
        self._line.send(("EVALSHA", self._sha, len(keys), *keys, *args), answered)


class _PooledScript:
    """Runs a script where there is no line: on fakeredis.

    Args:
        script: redis-py's.
    """

    def __init__(self, script: Callable[[list[str], list[Any]], Awaitable[Any]]) -> None:
        self._script = script
        self._tasks = set[asyncio.Task[Any]]()

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Run it."""
        return await self._script(keys, args)

    def send(self, keys: list[str], args: list[Any], answered: Answered) -> None:
        """Have it run."""

        def done(task: "asyncio.Task[Any]") -> None:
            self._tasks.discard(task)
            answered(ConnectionError() if task.cancelled() else task.exception() or task.result())

        task = asyncio.ensure_future(self(keys, args))
        self._tasks.add(task)
        task.add_done_callback(done)


def load_script(client: Client, package: str, name: str) -> Script:
    """Prepare a Lua script that lies beside a Python file.

    Args:
        client: Where it runs.
        package: The package it lies in.
        name: Its file name.
    """
    source = files(package).joinpath(name).read_text(encoding="utf-8")
    line: Line | None = getattr(client, "line", None)
    if line is not None:
        return _LineScript(line, source)
    return _PooledScript(client.register_script(source))


def _line(url: str) -> Line:
    return Line(partial(dedicated_connection, url), COMMAND_TIMEOUT)


def _pool(url: str) -> ConnectionPool:
    # Blocking: a burst past the limit waits its turn instead of failing (arq and redis-py 5 would
    # open up to 2**31 connections).
    return BlockingConnectionPool(
        **_options(url),
        max_connections=64,
        timeout=COMMAND_TIMEOUT,  # type: ignore[arg-type] # an int to the types, not to the code
        socket_timeout=COMMAND_TIMEOUT,
        # Not on a time-out: a Redis that hangs would be waited for three times over. And no health
        # check before a command, which has a time-out and retries of its own.
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 2, (ConnectionError,)),
        retry_on_error=[ConnectionError],
    )

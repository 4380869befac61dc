"""Which of Redis's answers mean: wait, and try again."""

import asyncio

import pytest
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
    WatchError,
)

from ops.valkey import EmbeddedValkey
from shared.redis import Client, _ClosedIsAway, connect, dedicated_connection, is_away
from workers.__main__ import loop_factory


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("refused"),
        TimeoutError("read"),
        OSError("reset"),
        BusyLoadingError("loading"),
        ReadOnlyError("replica"),
        ResponseError("BUSY Redis is busy running a script."),
        ResponseError("UNBLOCKED force unblock from blocking operation"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("Command # 1 (SET a b) of pipeline caused error: NOREPLICAS Not enough"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ExceptionGroup("", [ConnectionError("a"), ExceptionGroup("", [OSError("b")])]),
    ],
)
def test_away(error: Exception) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError("Command # 1 (SET BUSY b) of pipeline caused error: WRONGTYPE"),
        ResponseError("NOSCRIPT No matching script."),
        WatchError("changed"),
        ValueError("x"),
        ExceptionGroup("", [ConnectionError("a"), ValueError("b")]),
    ],
)
def test_not_away(error: Exception) -> None:
    assert not is_away(error)


def close(connection: AbstractConnection) -> None:
    assert connection._writer is not None
    connection._writer.transport.abort()


async def wait_for_nothing(client: Client) -> object:
    found: object = await client.blpop(["nothing"], 0.01)  # type: ignore[misc,arg-type]
    return found


def test_a_write_to_a_closed_connection_is_away_on_uvloop_too(valkey: EmbeddedValkey) -> None:
    async def write() -> None:
        connection = dedicated_connection(valkey.url)
        await connection.connect()
        close(connection)
        await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            await connection.send_command("PING")
        async with connect(valkey.url) as client:
            assert await wait_for_nothing(client) is None  # what blocks takes from the pool
            (pooled,) = client.connection_pool._available_connections
            close(pooled)
            assert await wait_for_nothing(client) is None

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(write())


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://127.0.0.1:6379/0", Connection),
        ("rediss://:secret@redis.example:6380/2", SSLConnection),
        ("unix:///run/redis.sock?db=1", UnixDomainSocketConnection),
    ],
)
def test_every_kind_of_connection_says_so_when_it_is_closed(
    url: str, kind: type[AbstractConnection]
) -> None:
    pooled = connect(url).connection_pool.make_connection()
    for connection in (pooled, dedicated_connection(url)):
        assert isinstance(connection, kind)
        assert isinstance(connection, _ClosedIsAway)

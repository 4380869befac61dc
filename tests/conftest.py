"""Engines: the tests of what lives in Redis run against fakeredis and a real Valkey alike."""

from collections.abc import AsyncIterator, Iterator

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from ops.valkey import EmbeddedValkey
from shared.redis import Client, connect


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A real server, one for each test process."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def valkey_client(valkey: EmbeddedValkey) -> AsyncIterator[Client]:
    client = connect(valkey.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(params=["fakeredis", "valkey"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of an empty server: of each engine in turn."""
    if request.param == "fakeredis":
        client: Client = FakeAsyncRedis(server=FakeServer())
        yield client
        await client.aclose()
    else:
        server = request.getfixturevalue("valkey")
        client = connect(server.url)
        await client.flushall()
        yield client
        await client.aclose()

"""Engines: the tests of what lives in Redis run against fakeredis and a real Valkey alike."""

import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from ops.valkey import EmbeddedValkey
from shared.redis import Client, connect
from tests.order import rank

# Tests start hundreds of processes. Where that is set, each of them compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A job in the background has no Ctrl-C, nor have its children: those that are sent one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # `tests.order` knows better


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    key = rank(Path(__file__).parent)
    items.sort(key=lambda item: key(item.path))


@pytest.fixture(scope="session", autouse=True)
def _authorities() -> Iterator[None]:
    """Read the certificates of authorities once: each client of httpx does, and takes 30 ms for it."""
    create = ssl.create_default_context
    once = cache(lambda cafile: create(cafile=cafile))

    def created(*arguments: Any, **named: Any) -> ssl.SSLContext:
        if not arguments and set(named) == {"cafile"}:
            return once(named["cafile"])
        return create(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl.create_default_context", created)
        yield


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

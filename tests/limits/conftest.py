"""What the tests of limits share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ops.valkey import EmbeddedValkey
from shared.redis import Client
from shared.settings import Settings
from tests.limits.starting import Edge, Make


@pytest.fixture
async def make(valkey: EmbeddedValkey, valkey_client: Client) -> AsyncIterator[Make]:
    """Makes an edge with settings, on an empty Redis."""
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> Edge:
            edge = Edge(valkey_client, valkey.url, Settings(**settings))
            await stack.enter_async_context(edge.executions.running())
            return edge

        yield make

from collections.abc import Iterator

import pytest

from machpay.serve.drain import Drain
from machpay.serve.server import create_app
from tests.skill_server.serving import Served, serving
from tests.skill_server.skills import Gates


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def gates() -> Gates:
    return Gates()


@pytest.fixture
def drain() -> Drain:
    return Drain()


@pytest.fixture
def served(gates: Gates, drain: Drain) -> Iterator[Served]:
    with serving(create_app(gates.skills, drain=drain), drain) as server:
        yield server

from collections.abc import Iterator
from typing import Any

import pytest

from machpay.serve.drain import Drain
from tests.skill_server.node import Host, NodeSide
from tests.skill_server.sides import SKILLS, PythonSide, Serve, Server
from tests.skill_server.skills import Gates


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def drain() -> Drain:
    return Drain()


@pytest.fixture(scope="session")
def node_host() -> Iterator[Host]:
    """A process in Node.js, one for each test process."""
    host = Host()
    yield host
    host.close()


@pytest.fixture(params=["python", "node"])
def side(request: pytest.FixtureRequest) -> PythonSide | NodeSide:
    """Each of the two skill servers in turn."""
    if request.param == "python":
        return PythonSide(Gates(), request.getfixturevalue("drain"))
    return NodeSide(request.getfixturevalue("node_host"))


@pytest.fixture
def serve(side: PythonSide | NodeSide) -> Serve:
    """What starts a server under test."""

    def start(*, skills: Any = SKILLS, **settings: Any) -> Any:
        return side.serve(skills=skills, **settings)

    return start


@pytest.fixture
def served(serve: Serve) -> Iterator[Server]:
    """A server under test."""
    with serve() as server:
        yield server


@pytest.fixture
def gates(request: pytest.FixtureRequest) -> Any:
    """The gates of the server under test; or some in Python, where there is none."""
    if "side" in request.fixturenames:
        return request.getfixturevalue("side").gates
    return Gates()

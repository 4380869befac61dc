"""Each proxy twice: in front of edges that are real, and of two that do what a test tells them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import httpx
import pytest

from ops.system import System
from tests.proxies.shipped import KINDS, Caddy, Change, HAProxy, Nginx, Proxy
from tests.proxies.stub import StubEdge

NAMES = [kind.name for kind in KINDS]

Fronts: TypeAlias = Callable[[str], Proxy]
"""Gives a proxy by its name, started when it is first asked for; skips if it can't be had."""

# A test looks at one failure after the other, and every edge has to be worth a try each time.
UNFORGETFUL = {
    Nginx.name: [Change("max_fails=1 fail_timeout=2s", "max_fails=0", 2)],
    HAProxy.name: [],
    Caddy.name: [Change("fail_duration 2s", "fail_duration 50ms")],
}


def _fronts(
    edges: tuple[int, int], stack: ExitStack, more: dict[str, list[Change]] | None = None
) -> Fronts:
    started: dict[str, Proxy] = {}

    def front(name: str) -> Proxy:
        if name not in started:
            kind = next(kind for kind in KINDS if kind.name == name)
            started[name] = stack.enter_context(kind(edges, (more or {}).get(name, [])))
        return started[name]

    return front


@pytest.fixture(scope="session")
def stubs() -> Iterator[tuple[StubEdge, StubEdge]]:
    with StubEdge() as first, StubEdge() as second:
        yield first, second


@pytest.fixture(scope="session")
def stub_fronts(stubs: tuple[StubEdge, StubEdge]) -> Iterator[Fronts]:
    """Proxies in front of the two that do what they are told."""
    with ExitStack() as stack:
        yield _fronts((stubs[0].port, stubs[1].port), stack, UNFORGETFUL)


@pytest.fixture(params=NAMES)
def stub_front(request: pytest.FixtureRequest, stub_fronts: Fronts) -> Proxy:
    return stub_fronts(request.param)


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """Two edges and a worker; the heartbeat is as far below the proxies' time-outs as it is shipped."""
    settings = {
        "MACHPAY_SKILLS": "tests.proxies.skills:step",
        "MACHPAY_HEARTBEAT": "1",
        "MACHPAY_DRAIN_WINDOW": "0.3",
        "MACHPAY_GRACE": "1",
    }
    with System(processes={"edge": 2, "worker": 1}, settings=settings) as running:
        yield running


@pytest.fixture(scope="session")
def fronts(system: System) -> Iterator[Fronts]:
    """Proxies in front of the edges."""
    first, second = (httpx.URL(system.url_of(f"edge.{n}")).port for n in (1, 2))
    assert first is not None
    assert second is not None
    with ExitStack() as stack:
        yield _fronts((first, second), stack)


@pytest.fixture(params=NAMES)
def front(request: pytest.FixtureRequest, fronts: Fronts) -> Proxy:
    return fronts(request.param)


def client_of(front: Proxy) -> httpx.Client:
    """Make a client that knows no authority for our certificates, and no proxy but this one."""
    return httpx.Client(base_url=front.url, verify=False, timeout=30, trust_env=False)

"""State machines whose rules are coroutines, run on fakeredis or on a real Valkey."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, Final, TypeVar

from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine

from shared.redis import Client, connect

PATIENCE: Final = 600
"""For pytest: so long, in s, may a machine that fails take to find its shortest failure."""

T = TypeVar("T")

SETTINGS = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)

ON_FAKEREDIS = settings(SETTINGS, max_examples=20)
"""Fewer: what matters is the real server, which is also the quicker one. This one says that the fast
tests stand on a fakeredis that does the same."""


class RedisMachine(RuleBasedStateMachine):
    """A state machine with an empty Redis and a loop of its own.

    Attributes:
        url: Where the real server is, which is emptied; ``None`` for one in this process.
    """

    url: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self._connect()

    def _connect(self) -> Client:
        if self.url is None:
            return FakeAsyncRedis(server=FakeServer())
        client = connect(self.url)
        self.run(_flush(client))
        return client

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        # Not `Runner.run`: it takes Ctrl-C over, each time, which takes as long as the work.
        return self.runner.get_loop().run_until_complete(work)

    def teardown(self) -> None:
        """Close what was opened."""
        self.run(self.redis.aclose())
        self.runner.close()


def run_on(machine: type[RedisMachine], url: str, *, examples: int = SETTINGS.max_examples) -> None:
    """Run a machine against a real server."""

    class OnServer(machine):  # type: ignore[valid-type,misc] # mypy takes no base from a variable
        pass

    OnServer.url = url
    OnServer.TestCase.settings = settings(SETTINGS, max_examples=examples)
    OnServer.TestCase().runTest()


async def _flush(client: Client) -> None:
    await client.flushall()

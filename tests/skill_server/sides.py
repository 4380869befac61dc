"""The two skill servers, Python's and Node.js', behind one interface: a test of HTTP holds for both."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import httpx
import pytest

from machpay.serve.drain import Drain
from machpay.serve.memory import MemoryExecutions
from machpay.serve.server import create_app
from machpay.serve.streams import Streams
from tests.skill_server.serving import Raw, Served, serving
from tests.skill_server.skills import Gates, slow, story

SKILLS: Final = ("echo", "gated", "endless", "failing", "large")
"""What is served unless a test asks for something else."""


class Server(Protocol):
    """A server under test.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        http: A client of it.
    """

    port: int
    http: httpx.Client

    def raw(self, request: bytes) -> Raw:
        """Send bytes, and read the whole answer, until the server closes."""
        ...

    def drain(self) -> None:
        """Have its drain begin; returns when it has."""
        ...


class Serve(Protocol):
    """Starts a server for as long as a context lasts."""

    def __call__(self, *, skills: Sequence[str] = SKILLS, **settings: Any) -> Any:
        """Start it.

        Args:
            skills: What it serves, by id.
            settings: ``host``, ``origins``, ``max_body_bytes``, ``body_timeout``, ``send_timeout``,
                ``heartbeat``: those of the server that differ from its defaults.
        """
        ...


class PythonSide:
    """Starts servers in Python.

    Attributes:
        gates: What their skills wait for, and how often they ran.
    """

    def __init__(self, gates: Gates, drain: Drain) -> None:
        self.gates = gates
        self._drain = drain

    @contextmanager
    def serve(
        self,
        *,
        skills: Sequence[str],
        heartbeat: float = 15.0,
        body_timeout: float | None = None,
        send_timeout: float = 30.0,
        **settings: Any,
    ) -> Iterator[Served]:
        known = {skill.id: skill for skill in [*self.gates.skills, story(), slow()]}
        executions = MemoryExecutions([known[name] for name in skills], heartbeat=heartbeat)
        app = create_app(
            [],
            executions=executions,
            drain=self._drain,
            streams=Streams(send_timeout=send_timeout),
            **settings,
        )
        with pytest.MonkeyPatch.context() as patch, serving(app, self._drain) as served:
            if body_timeout is not None:
                patch.setattr("machpay.serve.requests.BODY_TIMEOUT", body_timeout)
            yield served

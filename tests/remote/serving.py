"""Servers with skills, as processes."""

import os
import sys
from pathlib import Path

import httpx

from ops.child import Child
from ops.ports import LOOPBACK
from ops.system import ROOT
from tests.waiting import wait_until


class FarServer:
    """A skill server in a process of its own, which can be killed and started again.

    Args:
        port: Where it listens.
        log: Its log.
    """

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.url = f"http://{LOOPBACK}:{port}"
        self._log = log
        self._child: Child | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._child = Child(
            "far",
            [sys.executable, "-m", "tests.remote.server", str(self.port)],
            environment={**os.environ, "PYTHONUNBUFFERED": "1"},
            directory=ROOT,
            log=self._log,
        )
        wait_until(self.answers, "the skill server answers")

    def answers(self) -> bool:
        """Tell whether it answers."""
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """Kill it."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """Ask it to end, as a redeploy does."""
        if self._child is not None:
            self._child.stop(grace=10)

    def status(self, execution_id: str) -> str:
        """Tell the status of an execution on it; empty when it does not know it."""
        answer = httpx.get(f"{self.url}/v1/executions/{execution_id}", trust_env=False, timeout=5)
        return str(answer.json().get("status", ""))

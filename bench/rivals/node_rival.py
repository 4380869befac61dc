"""What the rivals that run on Node.js share: two processes, one that produces and one that serves."""

import os
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import msgspec

from bench.rivals.running import Running
from bench.target import Request, Work
from ops.npm import ensure_installed
from ops.ports import LOOPBACK, free_port
from ops.system import ProcessError
from ops.valkey import EmbeddedValkey

HERE: Final = Path(__file__).parent

_ANSWER_TIMEOUT: Final = 60.0


class NodeRival(Running):
    """A target of two Node.js processes: one produces, the other one serves readers.

    Args:
        valkey: As for :class:`~bench.rivals.running.Running`.

    Attributes:
        producer_port: Where streams are started.
        path: Where one is read, with ``{id}`` for its name.
    """

    path: ClassVar[str]

    def __init__(self, valkey: EmbeddedValkey | None = None) -> None:
        super().__init__(valkey)
        self.producer_port = free_port()
        self._node = ""
        self._connection: HTTPConnection | None = None

    def start(self) -> Self:
        """Start all processes and wait until they serve.

        Raises:
            NodeMissing: There is no Node.js >= 20, or no npm.
            NpmError: The packages could not be installed.
            ProcessError: A process ended or did not get ready; with its log's end.
        """
        self._node = ensure_installed(HERE).path
        return super().start()

    def stop(self) -> None:
        """Stop all processes, Valkey last."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        super().stop()

    def run(self, work: Work) -> Request:
        """Start a stream, then make the request that reads it from its beginning."""
        return self.read(self.begin(work))

    def begin(self, work: Work) -> str:
        """Start a stream that nobody reads yet; returns its name."""
        return str(self._ask_producer("/start", msgspec.json.encode(work))["id"])

    @property
    def example(self) -> str:
        """How to see a stream of it: started at the one process, read at the other."""
        url = f"http://{LOOPBACK}:{self.port}{self.path}"
        shown = msgspec.json.encode(Work(events=40, interval=0.5)).decode()
        start = f"$(curl -s -d '{shown}' {LOOPBACK}:{self.producer_port}/start | cut -d'\"' -f4)"
        return f'{url}, try: curl -N "{url.replace("{id}", start)}"'

    def _script(
        self, role: str, script: str, port: int, *arguments: str, **environment: str
    ) -> None:
        """Start a script of ours and wait until it listens.

        Args:
            role: Its role in :attr:`pids`, and the name of its log.
            script: Its file in ``node/``.
            port: Where it is to listen; its first argument.
            arguments: More of them.
            environment: More variables than ours.
        """
        command = [self._node, str(HERE / "node" / script), str(port), *arguments]
        child = self._spawn(role, command, {**_environment(os.environ), **environment}, HERE)
        self._await_port(child, port)

    def _ask_producer(
        self, path: str, body: bytes, timeout: float = _ANSWER_TIMEOUT
    ) -> dict[str, Any]:
        """Post JSON to the producer, on one connection that stays open.

        Raises:
            ProcessError: It ended, or answered that it can't.
        """
        if self._connection is None:
            self._connection = HTTPConnection(LOOPBACK, self.producer_port)
        connection = self._connection
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answered = connection.getresponse().read()
        except OSError as error:
            connection.close()
            self.check()
            raise ProcessError(f"{self.name}: no answer from the producer: {error!r}") from error
        return msgspec.json.decode(answered, type=dict[str, Any])


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Choose the environment: DEBUG would have resumable-stream log every chunk."""
    kept = {name: value for name, value in ours.items() if name not in ("DEBUG", "NODE_OPTIONS")}
    return {**kept, "NODE_ENV": "production"}

"""What the rivals that run on Node.js share: their processes, and how one is run by hand."""

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, Self

import msgspec

from bench.rivals.npm import HERE, ensure_installed
from bench.target import Request, Target, Work
from ops.child import Child
from ops.ports import LOOPBACK, free_port
from ops.system import ProcessError

_READY_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 5.0
_ANSWER_TIMEOUT: Final = 60.0
_SHOWN: Final = Work(events=40, interval=0.5)


class NodeRival(Target):
    """A target of two Node.js processes: one produces, the other one serves readers.

    Logs go to a temporary directory, which is removed at the end.

    Attributes:
        port: Of 127.0.0.1: where readers connect to.
        producer_port: Where streams are started.
    """

    def __init__(self) -> None:
        self.port = 0
        self.producer_port = 0
        self._node = ""
        self._children: dict[str, Child] = {}
        self._connection: HTTPConnection | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> Self:
        """Start all processes and wait until they serve.

        Raises:
            NodeMissing: There is no Node.js >= 20, or no npm.
            NpmError: The packages could not be installed.
            ProcessError: A process ended or did not get ready; with its log's end.
        """
        self._node = ensure_installed().path
        self._temporary = tempfile.TemporaryDirectory(prefix="machpay-rival-")
        self.port, self.producer_port = free_port(), free_port()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all processes."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            child.stop(_STOP_TIMEOUT)
        self._children.clear()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes by role."""
        return {role: [child.pid] for role, child in self._children.items()}

    def run(self, work: Work) -> Request:
        """Start a stream, then make the request that reads it from its beginning."""
        return self.read(self.begin(work))

    def begin(self, work: Work) -> str:
        """Start a stream that nobody reads yet; returns its name."""
        return str(self._ask_producer("/start", msgspec.json.encode(work))["id"])

    def check(self) -> None:
        """Look whether everything still runs.

        Raises:
            ProcessError: A process has ended.
        """
        for child in self._children.values():
            if child.returncode is not None:
                raise ProcessError(
                    f"{self.name}: {child.name} ended (exit code {child.returncode}). "
                    f"The end of its log:\n{child.tail()}"
                )

    def _launch(self) -> None:
        """Start the processes, by :meth:`_spawn`."""
        raise NotImplementedError

    def _spawn(
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
        if self._temporary is None:
            raise ProcessError(f"{self.name}: not started")
        child = Child(
            role,
            [self._node, str(HERE / "node" / script), str(port), *arguments],
            log=Path(self._temporary.name) / f"{role}.log",
            environment={**_environment(os.environ), **environment},
            directory=HERE,
        )
        self._children[role] = child
        deadline = time.monotonic() + _READY_TIMEOUT
        while not _listens(port):
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name}: {role} is not ready:\n{child.tail()}")
            time.sleep(0.01)
        self.check()

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


def get(port: int, path: str) -> Request:
    """Make the request that reads a stream.

    Args:
        port: Of the server.
        path: Where it is: ``/stream/1?skip=0``.
    """
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nAccept: text/event-stream\r\n"
        # Nobody asks for a second stream on its connection: it ends when the stream does.
        "Connection: close\r\n\r\n"
    )
    return Request(port, head.encode())


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Choose the environment: DEBUG would have resumable-stream log every chunk."""
    kept = {name: value for name, value in ours.items() if name not in ("DEBUG", "NODE_OPTIONS")}
    return {**kept, "NODE_ENV": "production"}


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every ``with``, whatever asked us to stop."""
    sys.exit(128 + signum)


def run_by_hand(rival: NodeRival, path: str) -> None:
    """Run a rival until Ctrl-C, and print how to use it.

    Args:
        rival: One that is not started yet.
        path: Where a stream is read, with ``{id}`` for its name.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    with rival:
        url = f"http://{LOOPBACK}:{rival.port}{path}"
        shown = msgspec.json.encode(_SHOWN).decode()
        start = f"$(curl -s -d '{shown}' {LOOPBACK}:{rival.producer_port}/start | cut -d'\"' -f4)"
        print(f'{rival.name}: {url}, try: curl -N "{url.replace("{id}", start)}"', flush=True)
        while True:
            rival.check()
            time.sleep(0.5)

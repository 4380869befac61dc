"""The processes of a rival, and how one is run by hand."""

import json
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, Self

import msgspec

from bench.request import request
from bench.target import Request, Target, Work
from ops.child import Child
from ops.ports import LOOPBACK, free_port
from ops.system import ROOT, ProcessError

_READY_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 5.0
_SHOWN: Final = Work(events=5, interval=0.2)


def post(path: str, work: Work) -> bytes:
    """Make the bytes of a request that starts a stream.

    Args:
        path: Where to: ``/stream``.
        work: What the stream does, the request's body.
    """
    body = msgspec.json.encode(work)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAccept: text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        # Nobody asks for a second stream on its connection: it ends when the stream does.
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, last: str = "") -> bytes:
    """Make the bytes of a request that reads a stream.

    Args:
        path: Where it is: ``/stream/1``.
        last: The id of the last event that was received; empty: none was.
    """
    resume = f"Last-Event-ID: {last}\r\n" if last else ""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAccept: text/event-stream\r\n"
        f"{resume}Connection: close\r\n\r\n"
    )
    return head.encode()


class Running(Target):
    """A target whose server takes ``POST /stream``; what all of them share.

    Logs go to a temporary directory, which is removed at the end.

    Attributes:
        port: Of 127.0.0.1, chosen when it is made: where readers connect to.
        children: Its processes by name.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.children: dict[str, Child] = {}
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> Self:
        """Start all processes and wait until they serve.

        Raises:
            ProcessError: One ended or did not get ready; with its log's end.
        """
        self._temporary = tempfile.TemporaryDirectory(prefix="machpay-rival-")
        try:
            self._launch()
            self._await(self._listens, self.children["server"])
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all processes."""
        self._end(list(self.children))
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes by role: here, the server that is everything."""
        return {"server": [self.children["server"].pid]}

    def run(self, work: Work) -> Request:
        """Make the request that starts a stream and reads it from its beginning."""
        return Request(self.port, post("/stream", work))

    def check(self) -> None:
        """Look whether everything still runs.

        Raises:
            ProcessError: A process has ended.
        """
        for child in self.children.values():
            if child.returncode is not None:
                raise ProcessError(
                    f"{self.name}: {child.name} ended (exit code {child.returncode}). "
                    f"The end of its log:\n{child.tail()}"
                )

    def _launch(self) -> None:
        """Start the processes, one of them named ``server``."""
        raise NotImplementedError

    def _spawn(
        self, name: str, module: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a Python process from the checkout.

        Args:
            name: Its name here, and its log's.
            module: What to run, and its arguments.
            environment: Its environment; ours when left out.
        """
        if self._temporary is None:
            raise ProcessError(f"{self.name}: not started")
        self.children[name] = Child(
            name,
            [sys.executable, "-m", *module],
            log=Path(self._temporary.name) / f"{name}.log",
            environment=environment,
            directory=ROOT,
        )
        return self.children[name]

    def _uvicorn(self, app: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the server: one uvicorn, with what is fastest in it, and flags as in our Procfile."""
        command = (
            f"uvicorn {app} --host {LOOPBACK} --port {self.port} --loop uvloop --http httptools"
        )
        quiet = ["--no-access-log", "--timeout-graceful-shutdown", "1"]
        self._spawn("server", [*command.split(), *quiet], environment)

    def _await(self, ready: Callable[[Child], bool], *children: Child) -> None:
        """Wait until all of some processes are ready."""
        deadline = time.monotonic() + _READY_TIMEOUT
        for child in children:
            while not ready(child):
                self.check()
                if time.monotonic() > deadline:
                    raise ProcessError(f"{self.name}: {child.name} is not ready:\n{child.tail()}")
                time.sleep(0.01)
        self.check()

    def _end(self, names: Sequence[str]) -> None:
        """Stop some processes, in that order but all at once."""
        for name in names:
            self.children[name].terminate()
        for name in names:
            self.children.pop(name).stop(_STOP_TIMEOUT)

    def _listens(self, _server: Child) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _post_for_id(self, path: str, work: Work) -> str:
        """Start a stream with a request that answers ``{"id": ...}``."""
        with request(self.port, "POST", path, msgspec.to_builtins(work)) as response:
            return str(json.loads(response.read())["id"])


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every ``with``, whatever asked us to stop."""
    sys.exit(128 + signum)


def run_by_hand(target: Running) -> None:
    """Run a target until Ctrl-C, and print how to use it.

    Args:
        target: One that is not started yet.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    with target:
        url = f"http://{LOOPBACK}:{target.port}/stream"
        shown = msgspec.json.encode(_SHOWN).decode()
        print(f"{target.name}: {url}, try: curl -N -d '{shown}' {url}", flush=True)
        while True:
            target.check()
            time.sleep(0.5)

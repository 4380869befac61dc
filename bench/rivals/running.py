"""The processes of a rival, and how one is run by hand."""

import json
import signal
import socket
import sys
import tempfile
import time
from abc import abstractmethod
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
from ops.valkey import EmbeddedValkey

_READY_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 5.0


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
    """A target that is processes of ours, and perhaps a Valkey.

    Logs go to a temporary directory, which is removed at the end.

    Args:
        valkey: What it stores in, if it does; started before its processes and stopped after them.

    Attributes:
        port: Of 127.0.0.1, chosen when it is made: where readers connect to.
        children: Its processes by name, and that is their role; one of them is the ``server``.
    """

    def __init__(self, valkey: EmbeddedValkey | None = None) -> None:
        self.port = free_port()
        self.children: dict[str, Child] = {}
        self._valkey = valkey
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> Self:
        """Start all processes and wait until they serve.

        Raises:
            ProcessError: One ended or did not get ready; with its log's end.
        """
        self._temporary = tempfile.TemporaryDirectory(prefix="machpay-rival-")
        try:
            if self._valkey is not None:
                self._valkey.start()
            self._launch()
            self._await_port(self.children["server"], self.port)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all processes, Valkey last."""
        self._end(list(self.children))
        if self._valkey is not None:
            self._valkey.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    @property
    def store_url(self) -> str:
        """Where its Valkey is."""
        return "" if self._valkey is None else self._valkey.url

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes by role."""
        store = {} if self._valkey is None else {"store": [self._valkey.pid]}
        return {**{name: [child.pid] for name, child in self.children.items()}, **store}

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

    @property
    def example(self) -> str:
        """How to see a stream of it, for the terminal."""
        url = f"http://{LOOPBACK}:{self.port}/stream"
        shown = msgspec.json.encode(Work(events=5, interval=0.2)).decode()
        return f"{url}, try: curl -N -d '{shown}' {url}"

    @abstractmethod
    def _launch(self) -> None:
        """Start the processes, one of them named ``server``."""

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        directory: Path = ROOT,
    ) -> Child:
        """Start a process.

        Args:
            name: Its name here, and its log's.
            command: The program and its arguments.
            environment: Its environment; ours when left out.
            directory: Its working directory.
        """
        if self._temporary is None:
            raise ProcessError(f"{self.name}: not started")
        self.children[name] = Child(
            name,
            command,
            log=Path(self._temporary.name) / f"{name}.log",
            environment=environment,
            directory=directory,
        )
        return self.children[name]

    def _python(
        self, name: str, module: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a Python process from the checkout.

        Args:
            name: As for :meth:`_spawn`.
            module: What to run, and its arguments.
            environment: As for :meth:`_spawn`.
        """
        return self._spawn(name, [sys.executable, "-m", *module], environment)

    def _uvicorn(self, app: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the server: one uvicorn, with what is fastest in it, and flags as in our Procfile."""
        command = (
            f"uvicorn {app} --host {LOOPBACK} --port {self.port} --loop uvloop --http httptools"
        )
        quiet = ["--no-access-log", "--timeout-graceful-shutdown", "1"]
        self._python("server", [*command.split(), *quiet], environment)

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

    def _await_port(self, child: Child, port: int) -> None:
        """Wait until a process listens."""
        self._await(lambda _: _listens(port), child)

    def _end(self, names: Sequence[str]) -> None:
        """Stop some processes, in that order but all at once."""
        for name in names:
            self.children[name].terminate()
        for name in names:
            self.children.pop(name).stop(_STOP_TIMEOUT)

    def _post_for_id(self, path: str, work: Work) -> str:
        """Start a stream with a request that answers ``{"id": ...}``."""
        with request(self.port, "POST", path, msgspec.to_builtins(work)) as response:
            return str(json.loads(response.read())["id"])


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


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
        print(f"{target.name}: {target.example}", flush=True)
        while True:
            target.check()
            time.sleep(0.5)

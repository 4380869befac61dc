"""The whole system on one machine: Valkey, an edge and workers, started and stopped as one."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from ops.child import Child
from ops.ports import LOOPBACK, free_port, is_free
from ops.procfile import read_procfile, shell_command
from ops.valkey import EmbeddedValkey

ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout: Procfile commands run here."""

_READY_TIMEOUT: Final = 60.0
_DEFAULT: Final = {"edge": 1, "worker": 2}
_OURS: Final = re.compile(r"(MACHPAY_|UVICORN_).*|HOST|PORT")


class ProcessError(Exception):
    """A process of the system ended or does not get ready; with the reason and its log's end."""


class System:
    """An edge and workers from the Procfile, with an embedded Valkey unless they are given a Redis.

    ::

        with System(settings={"MACHPAY_SKILLS": "examples.story_generator:skill"}) as system:
            MachPay(base_url=system.url)

    The processes inherit our environment except what configures MachPay: that comes from
    ``settings`` alone, so that a test means the same on every machine.

    Args:
        processes: Process type of the Procfile -> how many.
        settings: Variables for the processes. ``MACHPAY_REDIS_URL`` replaces the embedded Valkey.
        directory: Where data and logs are kept. ``None``: a temporary directory, removed at the
            end.
        port: The port of ``edge.1`` on 127.0.0.1; 0 takes a free one, as further edges do.
    """

    def __init__(
        self,
        *,
        processes: Mapping[str, int] | None = None,
        settings: Mapping[str, str] | None = None,
        directory: Path | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self._ports: dict[str, int] = {}
        self.children: dict[str, Child] = {}
        self.valkey: EmbeddedValkey | None = None
        self._processes = dict(_DEFAULT if processes is None else processes)
        self._settings = dict(settings or {})
        self._kept = directory
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._commands: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The base URL of ``edge.1``."""
        return f"http://{LOOPBACK}:{self.port}"

    def url_of(self, name: str) -> str:
        """Tell the base URL of an edge: ``edge.2``. It keeps its port when it is spawned again."""
        return f"http://{LOOPBACK}:{self._ports[name]}"

    @property
    def redis_url(self) -> str:
        """Where the queue is, and the logs unless ``MACHPAY_LOG_REDIS_URL`` is set."""
        if self.valkey is not None:
            return self.valkey.url
        return self._settings.get("MACHPAY_REDIS_URL", "")

    @property
    def directory(self) -> Path:
        """Where ``valkey/`` and ``logs/`` are."""
        if self._kept is not None:
            return self._kept
        if self._temporary is None:
            raise ProcessError("not started: there is no directory")
        return Path(self._temporary.name)

    def start(self) -> Self:
        """Start everything and wait until the edge is ready and a worker has announced its skills.

        Raises:
            ProcessError: A process ended or did not get ready, or the port is taken.
            ops.valkey.ValkeyError: No Valkey.
        """
        if self.port and not is_free(self.port):
            raise ProcessError(f"Port {self.port} is taken. Choose another: PORT={self.port + 1}")
        try:
            self._prepare()
            for kind, count in self._processes.items():
                for number in range(1, count + 1):
                    self.spawn(kind, f"{kind}.{number}")
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def spawn(self, kind: str, name: str, settings: Mapping[str, str] | None = None) -> Child:
        """Start one more process.

        Args:
            kind: Its type in the Procfile.
            name: Its name here, and its log's.
            settings: Variables on top of the system's.

        Raises:
            ProcessError: A process of that name runs already.
        """
        if name in self.children and self.children[name].returncode is None:
            raise ProcessError(f"{name} is running")
        inherited = {key: value for key, value in os.environ.items() if not _OURS.fullmatch(key)}
        environment = {
            **inherited,
            # The Procfile says `uvicorn` and `python`: those next to the Python that we run on.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "PORT": str(self._ports.setdefault(name, free_port())),
            **self._settings,
            "MACHPAY_REDIS_URL": self.redis_url,
            **(settings or {}),
        }
        child = Child(
            name,
            shell_command(self._commands[kind]),
            log=self.directory / "logs" / f"{name}.log",
            environment=environment,
            directory=ROOT,
        )
        self.children[name] = child
        return child

    def skills(self) -> list[str] | None:
        """List the ids of the skills that workers announced; ``None``: the edge wants an API key first.

        Raises:
            httpx.HTTPError: The edge does not answer.
        """
        answer = httpx.get(f"{self.url}/v1/skills", timeout=5, trust_env=False)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return None
        return [skill["id"] for skill in answer.raise_for_status().json()["skills"]]

    def check(self) -> None:
        """Look whether everything still runs.

        Raises:
            ProcessError: A process has ended.
        """
        for child in self.children.values():
            if child.returncode is not None:
                raise ProcessError(
                    f"{child.name} ended (exit code {child.returncode}). The end of its log, "
                    f"{child.log}:\n{child.tail()}"
                )
        if self.valkey is not None and not self.valkey.running:
            raise ProcessError(f"Valkey ended. Its log: {self.valkey.directory}/valkey.log")

    def tails(self, lines: int = 8) -> str:
        """Read the end of every process's log.

        Args:
            lines: How many lines of each at most.
        """
        return "\n\n".join(f"{c.name}, {c.log}:\n{c.tail(lines)}" for c in self.children.values())

    def stop(self, grace: float = 10.0) -> None:
        """Stop everything: first what uses Valkey, then Valkey.

        Args:
            grace: How long edge and workers may take together before they are killed, in s.
        """
        deadline = time.monotonic() + grace
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            child.stop(max(0.0, deadline - time.monotonic()))
        self.children.clear()
        if self.valkey is not None:
            self.valkey.stop()
            self.valkey = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Make directories, read the Procfile, choose a port, and have a Redis."""
        self._commands = read_procfile(ROOT / "Procfile")
        self.port = self._ports["edge.1"] = self.port or free_port()
        if self._kept is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="machpay-")
        if not self._settings.get("MACHPAY_REDIS_URL"):
            self.valkey = EmbeddedValkey(self.directory / "valkey").start()
        # After Valkey, whose lock tells us that no other system writes to these logs.
        logs = self.directory / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for old in logs.glob("*.log"):
            old.unlink()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        workers = any(name.startswith("worker.") for name in self.children)
        waiting = [self.url_of(name) for name in self.children if name.startswith("edge.")]
        # trust_env: a proxy configured on this machine has no business between us and loopback.
        with httpx.Client(timeout=5, trust_env=False) as client:
            while waiting:
                self.check()
                if _is_ready(client, waiting[0], workers=workers):
                    waiting.pop(0)
                elif time.monotonic() > deadline:
                    raise ProcessError(f"Not ready after {_READY_TIMEOUT:.0f} s.\n\n{self.tails()}")
                else:
                    time.sleep(0.05)
        self.check()


def _is_ready(client: httpx.Client, url: str, *, workers: bool) -> bool:
    """Tell whether an edge serves and, where there are workers, lists a skill that is live."""
    try:
        if client.get(f"{url}/readyz").status_code != httpx.codes.OK:
            return False
        if not workers:
            return True
        answer = client.get(f"{url}/v1/skills")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return True  # it wants an API key, which we don't have: ready as far as we can see
        return any(skill["live"] for skill in answer.raise_for_status().json()["skills"])
    except httpx.HTTPError:
        return False

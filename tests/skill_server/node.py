"""The skill server in Node.js as a server under test: the same requests get the same answers."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx

from tests.node.npm import SDK, compiled
from tests.skill_server.serving import raw

_HOST: Final = SDK / "build" / "test" / "serve" / "host.js"


class Host:
    """A process that runs as many skill servers as the tests ask for."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [compiled().path, str(_HOST)],
            stdin=subprocess.PIPE,  # it ends with it
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have a command done, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the host died: {self.said()}"
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def said(self) -> str:
        """Return what it complained of."""
        self._errors.seek(0)
        return self._errors.read()

    def close(self) -> None:
        """End it. What Node.js itself warns of (leaks, lost rejections) fails the tests."""
        with self._errors, self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            code = process.wait(20)
            said = self.said()
        assert code == 0, said
        assert "Warning" not in said


class NodeGate:
    """A gate of :class:`NodeGates`."""

    def __init__(self, served: "NodeServed", name: str) -> None:
        self._served = served
        self._name = name
        self._open = False

    def set(self) -> None:
        self._open = True
        self._served.do("open", gate=self._name)

    def is_set(self) -> bool:
        return self._open


class NodeGates:
    """The gates of the server that was started last: see :class:`tests.skill_server.skills.Gates`."""

    def __init__(self) -> None:
        self._gates: dict[str, NodeGate] = {}
        self.served: NodeServed | None = None
        self._last = {"runs": 0, "finished": 0}

    def gate(self, name: str) -> NodeGate:
        assert self.served is not None
        return self._gates.setdefault(name, NodeGate(self.served, name))

    def note(self, last: dict[str, int]) -> None:
        """Keep what is known of a server that is closed."""
        self._last, self.served = last, None

    @property
    def runs(self) -> int:
        return self._look()["runs"]

    @property
    def finished(self) -> int:
        return self._look()["finished"]

    def _look(self) -> dict[str, int]:
        return self._last if self.served is None else self.served.do("look")


class NodeServed:
    """A server in the host; see :class:`tests.skill_server.serving.Served`."""

    def __init__(
        self, host: Host, skills: Sequence[str], settings: dict[str, Any], address: str
    ) -> None:
        started = host.do("serve", skills=list(skills), settings=settings, host=address)
        self._host = host
        self._id = started["server"]
        self.port: int = started["port"]
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False
        )

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have a command done on this server."""
        return self._host.do(command, server=self._id, **arguments)

    def raw(self, request: bytes) -> Any:
        return raw(self.port, request)

    def drain(self) -> None:
        self.do("drain")


_NAMES: Final = {
    "max_body_bytes": "maxBodyBytes",
    "body_timeout": "bodyTimeout",
    "send_timeout": "sendTimeout",
}


class NodeSide:
    """Starts servers in Node.js; see :class:`tests.skill_server.sides.PythonSide`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.gates = NodeGates()

    @contextmanager
    def serve(
        self, *, skills: Sequence[str], host: str = "127.0.0.1", **settings: Any
    ) -> Iterator[NodeServed]:
        named = {_NAMES.get(name, name): value for name, value in settings.items()}
        served = self.gates.served = NodeServed(self.host, skills, named, host)
        try:
            yield served
        finally:
            served.http.close()
            self.gates.note(served.do("look"))
            served.do("close")

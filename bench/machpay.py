"""The system itself, as the bench runs it: Valkey, edges and workers from the Procfile."""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from bench.load import run
from bench.machpay_rates import append, execute
from bench.target import Request, Target, Work
from ops.system import System

SKILLS: Final = ("paced", "burst", "noop", "hold", "wait", "tick", "steady")
CLIENTS: Final = 64
"""How many clients start executions at once in :meth:`MachPay.jobs`."""

_CURSOR: Final = re.compile(rb"\nid: (\S+)\n\n")


class MachPay(Target):
    """Ours.

    Args:
        edges: How many edge processes.
        workers: How many worker processes.
        settings: More variables for both.
    """

    name: ClassVar[str] = "MachPay"
    role: ClassVar[str] = "the real system"
    can: ClassVar[frozenset[str]] = frozenset(
        {"start", "live", "fanout", "resume", "replay", "idle", "append", "jobs"}
    )

    def __init__(
        self, *, edges: int = 1, workers: int = 2, settings: Mapping[str, str] | None = None
    ) -> None:
        variables = {
            "MACHPAY_SKILLS": ",".join(f"bench.skills:{name}" for name in SKILLS),
            "MACHPAY_MAX_JOBS": "2500",
            # Streams that are still running at the end of a measurement are nobody's any more.
            "MACHPAY_GRACE": "0",
            **(settings or {}),
        }
        self._workers = workers
        self._http = httpx.Client(trust_env=False, timeout=60)
        self.system = System(processes={"edge": edges, "worker": workers}, settings=variables)

    def start(self) -> Self:
        """Start everything."""
        self.system.start()
        return self

    def stop(self) -> None:
        """Stop everything."""
        self._http.close()
        self.system.stop()

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes."""
        children = self.system.children
        valkey = self.system.valkey
        return {
            "producer": [child.pid for name, child in children.items() if name[0] == "w"],
            "store": [] if valkey is None else [valkey.pid],
            "server": [child.pid for name, child in children.items() if name[0] == "e"],
        }

    @property
    def store_url(self) -> str:
        """Where its Valkey is."""
        return self.system.redis_url

    @property
    def ports(self) -> list[int]:
        """Where its edges are."""
        edges = [name for name in self.system.children if name.startswith("edge.")]
        return [urlsplit(self.system.url_of(name)).port or 0 for name in edges]

    def run(self, work: Work) -> Request:
        """Start and stream."""
        return self.ask("POST", "/v1/skills/paced/stream", work)

    def begin(self, work: Work) -> str:
        """Start in the background."""
        return self.launch("paced", msgspec.to_builtins(work))

    def launch(self, skill: str, data: object) -> str:
        """Start any skill in the background; returns the execution's id."""
        url = f"{self.system.url}/v1/skills/{skill}/executions"
        answer = self._http.post(url, json={"input": data}).raise_for_status()
        execution_id: str = answer.json()["execution_id"]
        return execution_id

    def look(self, execution_id: str) -> dict[str, Any]:
        """Describe an execution."""
        url = f"{self.system.url}/v1/executions/{execution_id}"
        found: dict[str, Any] = self._http.get(url).raise_for_status().json()
        return found

    def read(self, stream: str, received: bytes = b"") -> Request:
        """Stream an execution, from the last event that was received whole."""
        cursors = _CURSOR.findall(received)
        headers = {"Last-Event-ID": cursors[-1].decode()} if cursors else {}
        return self.ask("GET", f"/v1/executions/{stream}/stream", headers=headers)

    def ask(
        self, method: str, path: str, data: object = None, headers: Mapping[str, str] | None = None
    ) -> Request:
        """Make a request to the first edge.

        Args:
            method: Its method.
            path: Its path.
            data: The input of a start.
            headers: More headers.
        """
        body = b"" if data is None else json.dumps({"input": msgspec.to_builtins(data)}).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return Request(self.system.port, "\r\n".join([*lines, "", ""]).encode() + body)

    def appends(self, batch: int, seconds: float) -> float:
        """Append as one worker process does, from this one."""
        return run(append(self.store_url, batch, seconds))

    def jobs(self, workers: int, count: int) -> float:
        """Run no-op executions through the whole path, from request to terminal event.

        Args:
            workers: As many as it was made with.
            count: How many.

        Raises:
            ValueError: It has another number of workers.
        """
        if workers != self._workers:
            raise ValueError(f"it has {self._workers} workers, not {workers}")
        request = self.ask("POST", "/v1/skills/noop/stream", {}).data
        return run(execute(self.ports, request, count, CLIENTS))

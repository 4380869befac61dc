"""The system itself, as the bench runs it: Valkey, edges and workers from the Procfile."""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import httpx
import msgspec

from bench.target import Request, Target, Work
from ops.system import System

SKILLS: Final = ("paced", "noop", "burst", "hold", "wait", "tick", "steady")
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
        {"start", "live", "fanout", "resume", "idle", "append", "jobs"}
    )

    def __init__(
        self, *, edges: int = 1, workers: int = 2, settings: Mapping[str, str] | None = None
    ) -> None:
        variables = {
            "MACHPAY_SKILLS": ",".join(f"bench.skills:{name}" for name in SKILLS),
            "MACHPAY_MAX_JOBS": "2500",
            **(settings or {}),
        }
        self.system = System(processes={"edge": edges, "worker": workers}, settings=variables)

    def start(self) -> Self:
        """Start everything."""
        self.system.start()
        return self

    def stop(self) -> None:
        """Stop everything."""
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

    def run(self, work: Work) -> Request:
        """Start and stream."""
        return self.ask("POST", "/v1/skills/paced/stream", work)

    def begin(self, work: Work) -> str:
        """Start in the background."""
        return self.launch("paced", msgspec.to_builtins(work))

    def launch(self, skill: str, data: object) -> str:
        """Start any skill in the background; returns the execution's id."""
        url = f"{self.system.url}/v1/skills/{skill}/executions"
        answer = httpx.post(url, json={"input": data}, trust_env=False).raise_for_status()
        execution_id: str = answer.json()["execution_id"]
        return execution_id

    def look(self, execution_id: str) -> dict[str, Any]:
        """Describe an execution."""
        url = f"{self.system.url}/v1/executions/{execution_id}"
        found: dict[str, Any] = httpx.get(url, trust_env=False).raise_for_status().json()
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

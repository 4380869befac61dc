"""An edge without API keys: whom it serves, and what happens when keys come and go."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from machpay.serve.executions import SkillInfo
from ops.child import Child
from ops.ports import free_port
from ops.system import ROOT
from ops.valkey import EmbeddedValkey
from shared.keyring import Keyring
from shared.redis import Client, connect
from shared.registry import Registry
from tests.waiting import wait_until

T = TypeVar("T")

FROM_CODE = """
import edge.revocation, uvicorn
edge.revocation.LOOK_EVERY = edge.revocation.SPREAD = 0.1
uvicorn.run("edge.app:app", host={host!r}, port={port}, timeout_graceful_shutdown=1)
"""
Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path, valkey: EmbeddedValkey) -> Iterator[Start]:
    """Start an edge."""
    children: list[Child] = []

    def run(*command: str, redis: str = valkey.url) -> Child:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MACHPAY_")}
        environment = {**inherited, "MACHPAY_REDIS_URL": redis, "MACHPAY_DRAIN_WINDOW": "0"}
        log = tmp_path / f"edge.{len(children)}.log"
        child = Child(
            log.name,
            [sys.executable, *command],
            log=log,
            environment=environment,
            directory=ROOT,
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.stop(5.0)


def emptied(valkey: EmbeddedValkey) -> None:
    async def work(redis: Client) -> None:
        await redis.flushall()
        await Registry(redis).announce([SkillInfo(id="count", name="Count")])

    on_redis(valkey, work)


def on_redis(valkey: EmbeddedValkey, work: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        redis = connect(valkey.url)
        try:
            return await work(redis)
        finally:
            await redis.aclose()

    return asyncio.run(run())


def serves(http: httpx.Client, path: str = "/healthz") -> bool:
    try:
        return http.get(path).status_code == 200
    except httpx.TransportError:
        return False


def test_an_edge_that_everybody_could_use_does_not_start_and_says_why(
    start: Start, valkey: EmbeddedValkey
) -> None:
    emptied(valkey)
    port = str(free_port())
    child = start("-m", "uvicorn", "edge.app:app", "--host", "0.0.0.0", "--port", port)
    wait_until(lambda: child.returncode is not None, "it ends")
    assert child.returncode == 3
    log = child.log.read_text()
    (line,) = [line for line in log.splitlines() if "keys" in line]
    for word in ("everybody who reaches 0.0.0.0", "MACHPAY_API_KEYS", "ops keys create"):
        assert word in line
    assert "Traceback" not in log
    assert "running on" not in log


def test_an_edge_that_can_not_tell_is_closed_until_it_can(start: Start, tmp_path: Path) -> None:
    port, redis_port = free_port(), free_port()
    redis = f"redis://127.0.0.1:{redis_port}/0"
    child = start("-c", FROM_CODE.format(host="0.0.0.0", port=port), redis=redis)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http:
        wait_until(lambda: serves(http), "it serves")
        refused = http.get("/v1/skills")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        resumed = http.get("/v1/executions/x/stream", headers={"Last-Event-ID": "x.1-1"})
        assert resumed.status_code == 200
        assert resumed.text.startswith("retry: ")
        # Now it finds out that there are none; and that it listens for everybody.
        with EmbeddedValkey(tmp_path / "valkey", redis_port):
            wait_until(lambda: child.returncode is not None, "it ends")
    assert child.returncode == 3
    (line,) = [line for line in child.log.read_text().splitlines() if "no API keys" in line]
    assert "everybody who reaches 0.0.0.0" in line


class Reading:
    """A stream that is read to its end.

    Args:
        http: The edge.
        headers: With what it is opened.
    """

    def __init__(self, http: httpx.Client, **headers: str) -> None:
        self._opened = http.stream("POST", "/v1/skills/count/stream", json={}, headers=headers)
        self._answer = self._opened.__enter__()
        assert self._answer.status_code == 200
        self._parts = self._answer.iter_text()
        self.text = next(self._parts)
        while "\n\n" not in self.text:
            self.text += next(self._parts)

    def end(self) -> str:
        """Read on until it is over, as HTTP says it has to be, and tell the cursor of its last event."""
        self.text += "".join(self._parts)
        self._opened.__exit__(None, None, None)
        assert self.text.endswith("\n\n")
        return self.text.rpartition("id: ")[2].strip()


def test_keys_come_and_go_while_an_edge_runs(start: Start, valkey: EmbeddedValkey) -> None:
    emptied(valkey)
    port = free_port()
    start("-c", FROM_CODE.format(host="127.0.0.1", port=port))
    # A stream that ends takes its connection with it: who sends the next request on that one is too late.
    anew = httpx.Limits(max_keepalive_connections=0)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=30, limits=anew) as http:
        wait_until(lambda: serves(http, "/v1/skills"), "it serves everybody on loopback")
        anonymous = Reading(http)
        shown, kept = on_redis(valkey, lambda redis: Keyring(redis).create("carol"))
        wait_until(lambda: http.get("/v1/skills").status_code == 401, "it asks for a key")
        cursor = anonymous.end()
        key = {"Authorization": f"Bearer {shown}"}
        # What everybody started before is not carol's.
        execution_id = cursor.partition(".")[0]
        assert http.get(f"/v1/executions/{execution_id}", headers=key).status_code == 404

        reading = Reading(http, **key)
        on_redis(valkey, lambda redis: Keyring(redis).revoke(kept.id))
        # The very next request is refused; the stream ends between two events, and can't be resumed.
        assert http.get("/v1/skills", headers=key).status_code == 401
        cursor = reading.end()
        again = {**key, "Last-Event-ID": cursor}
        assert http.post("/v1/skills/count/stream", headers=again).status_code == 401
        # It was the last key: that opens nothing.
        assert http.get("/v1/skills").status_code == 401

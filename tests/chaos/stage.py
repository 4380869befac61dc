"""The system under fire: two edges, three workers and a Valkey as processes, and what befalls them.

Clients reach each edge through a proxy of its own, and so does each edge and each worker Valkey:
any one of these links can be cut.
"""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from ops.child import Child
from ops.cut import CuttableProxy
from ops.system import System
from ops.valkey import EmbeddedValkey
from tests.chaos.history import Trouble
from tests.chaos.plan import EDGES, GRACE, LEASE, POLICIES, VALKEY, WORKERS, Fault
from tests.chaos.skills import ALL, NOTES
from tests.waiting import wait_until

HEARTBEAT: Final = 2.0
"""``MACHPAY_HEARTBEAT`` here, in s."""

_DROP_EVERY: Final = 0.2
_FOREVER: Final = float("inf")


class Stage:
    """The processes of one run; start it from the main thread.

    Args:
        directory: Where Valkey's data, all logs and the handlers' notes are kept.

    Attributes:
        doors: Edge -> the port of the proxy in front of it.
        troubles: What befell whom so far.
        deaths: What went wrong that no fault explains.
    """

    def __init__(self, directory: Path) -> None:
        self.doors: dict[str, int] = {}
        self.troubles: list[Trouble] = []
        self.deaths: list[str] = []
        self.notes = directory / "notes"
        # `always`, although `everysec` is the default: while its fsync is under way, everysec puts
        # the *write* off too (aof.c, flushAppendOnlyFile), and answers all the same. A SIGKILL in
        # these milliseconds loses what was acknowledged (measured: 2 of 30 kills lost 28 and 44
        # writes). The oracle must know that what was acknowledged is there.
        self._valkey = EmbeddedValkey(directory / "valkey", options={"appendfsync": "always"})
        self._directory = directory
        self._stack = ExitStack()
        self._links: dict[str, CuttableProxy] = {}
        self._fronts: dict[str, CuttableProxy] = {}
        self._open: dict[str, Trouble] = {}
        self._down: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._drop_until = 0.0
        self._dropped = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.notes.mkdir(parents=True)
            stack.enter_context(self._valkey)
            settings = {
                "MACHPAY_REDIS_URL": self._valkey.url,
                "MACHPAY_SKILLS": ALL,
                "MACHPAY_LEASE": str(LEASE),
                "MACHPAY_GRACE": str(GRACE),
                "MACHPAY_RETENTION": "86400",
                "MACHPAY_HEARTBEAT": str(HEARTBEAT),
                # Short enough to be met in a minute: streams rotate, and stuck readers are cut.
                "MACHPAY_MAX_CONNECTION_AGE": "6",
                "MACHPAY_SEND_TIMEOUT": "3",
                NOTES: str(self.notes),
            }
            # Started without processes: each is spawned with a link of its own.
            self._system = System(processes={}, settings=settings, directory=self._directory)
            stack.enter_context(self._system)
            for name in (*EDGES, *WORKERS):
                self._links[name] = stack.enter_context(CuttableProxy(self._valkey.port))
                self._spawn(name)
            for name in EDGES:
                front = stack.enter_context(CuttableProxy(self.port_of(name)))
                self._fronts[name] = front
                self.doors[name] = front.port
            self._redis: redis.Redis = stack.enter_context(
                redis.Redis.from_url(
                    self._valkey.url,
                    decode_responses=True,
                    socket_timeout=5,
                    retry=Retry(ExponentialBackoff(), 5),
                    retry_on_error=[ConnectionError, TimeoutError],
                )
            )
            wait_until(self._is_ready, "edges and workers are ready", 60)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def redis(self) -> redis.Redis:
        """Valkey, without a proxy in between."""
        return self._redis

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return [self._child(name).pid for name in WORKERS]

    def tracebacks(self) -> dict[str, int]:
        """Count the tracebacks in every process's log."""
        logs = {name: self._child(name).log.read_text() for name in (*EDGES, *WORKERS)}
        counted = {
            name: log.count("Traceback (most recent call last)") for name, log in logs.items()
        }
        return {name: count for name, count in counted.items() if count}

    def port_of(self, edge: str) -> int:
        """Tell an edge's own port, behind its proxy."""
        return int(self._system.url_of(edge).rpartition(":")[2])

    # -- faults ----------------------------------------------------------------------------------

    def begin(self, fault: Fault) -> None:
        """Begin a fault."""
        target = fault.target
        pid = self._valkey.pid if target == VALKEY else self._child(target).pid
        trouble = Trouble(target, pid, fault.kind, time.time(), _FOREVER)
        self.troubles.append(trouble)
        self._open[target] = trouble
        match fault.kind.partition("-")[2]:
            case "kill" if target == VALKEY:
                self._valkey.kill()
            case "kill":
                self._down.add(target)
                self._child(target).kill()
            case "stop":
                os.kill(pid, signal.SIGSTOP)
            case "deploy":
                self._leaving[target] = time.monotonic() + fault.lasting
                self._child(target).terminate()
            case "cut" if target in EDGES:
                self._fronts[target].cut()
            case "refuse":
                self._fronts[target].cut(fault.lasting)
            case "cut":
                self._links[target].cut()
            case "partition":
                self._links[target].cut(fault.lasting)
            case "drop":
                self._drop_until = time.monotonic() + fault.lasting

    def undo(self, fault: Fault) -> None:
        """Undo a fault. What leaves by itself is seen to by :meth:`tick`."""
        target = fault.target
        match fault.kind.partition("-")[2]:
            case "kill" if target == VALKEY:
                self._valkey.start()
            case "kill":
                self._respawn(target)
            case "stop":
                os.kill(self._open[target].pid, signal.SIGCONT)
            case "deploy":
                return
        self._close(target)

    def tick(self) -> None:
        """Do what is due between the plan's steps; call it every few ms."""
        now = time.monotonic()
        if now < self._drop_until and now - self._dropped >= _DROP_EVERY:
            self._dropped = now
            self._redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        for name, limit in list(self._leaving.items()):
            self._see_off(name, late=now > limit)
        for name in (*EDGES, *WORKERS):
            code = self._child(name).returncode
            if code is not None and name not in self._down and name not in self._leaving:
                self.deaths.append(f"{name} ended by itself (exit code {code})")
                self._respawn(name)

    @property
    def busy(self) -> bool:
        """Whether a process is still on its way out."""
        return bool(self._leaving)

    def _see_off(self, name: str, *, late: bool) -> None:
        child = self._child(name)
        code = child.returncode
        if code is None and not late:
            return
        if code is None:
            self.deaths.append(f"{name} did not end in time after SIGTERM and was killed")
            child.kill()
        elif name in WORKERS and code != 0:
            self.deaths.append(f"{name} ended with exit code {code} after SIGTERM")
        del self._leaving[name]
        self._close(name)
        self._respawn(name)

    def _close(self, target: str) -> None:
        self._open.pop(target).ended = time.time()

    # -- processes -------------------------------------------------------------------------------

    def _child(self, name: str) -> Child:
        return self._system.children[name]

    def _spawn(self, name: str) -> None:
        url = f"redis://127.0.0.1:{self._links[name].port}/0"
        self._system.spawn(name.partition(".")[0], name, {"MACHPAY_REDIS_URL": url})

    def _respawn(self, name: str) -> None:
        self._down.discard(name)
        self._spawn(name)

    def _is_ready(self) -> bool:
        self._system.check()
        try:
            for edge in EDGES:
                answer = httpx.get(f"{self._system.url_of(edge)}/v1/skills", trust_env=False)
                live = {skill["id"] for skill in answer.json()["skills"] if skill["live"]}
                if not live.issuperset(POLICIES):
                    return False
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        logs = (self._child(name).log for name in WORKERS)
        return all("ready" in log.read_text() for log in logs)

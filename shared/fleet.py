"""The fleet: which workers and edges live, as they say themselves every few seconds.

Who is killed is gone :data:`ALIVE_FOR` s later; who ends takes itself off.
"""

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from machpay._version import __version__
from machpay.serve.overview import EdgeState, RunningExecution, WorkerState
from shared.cancellation import cancelled
from shared.keys import fleet_key, member_key, runs_key
from shared.pulse import Pulse, Tally
from shared.redis import Client, load_script
from shared.telemetry import Outage

logger: Final = logging.getLogger("machpay.fleet")

T = TypeVar("T")

Kind: TypeAlias = Literal["worker", "edge"]

SAY_EVERY: Final = 2.0
"""How often a process says how it is, and hands on what it measured, in s."""

ALIVE_FOR: Final = 3 * SAY_EVERY
"""How long that holds, in s."""

LAST_WORD: Final = 0.2
"""How long the end of a process waits for it, in s."""

MOST: Final = 200
"""How many processes of a kind are listed."""

MOST_RUNS: Final = 50
"""How many executions a worker says that it runs, and how many are listed."""

_workers: Final = msgspec.json.Decoder(WorkerState)
_edges: Final = msgspec.json.Decoder(EdgeState)
_runs: Final = msgspec.json.Decoder(list[RunningExecution])


class Identity(NamedTuple):
    """Who a process is.

    Attributes:
        id: Its name in the fleet.
        host: The machine's name.
        pid: Its process there.
        version: Of MachPay.
        started_at: When it started, in ms since the epoch.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: int

    @classmethod
    def mine(cls, name: str | None = None) -> "Identity":
        """Tell who this process is.

        Args:
            name: Its name in the fleet; ``None``: a random one.
        """
        return cls(
            id=name or secrets.token_hex(8),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=time.time_ns() // 1_000_000,
        )


class Report(NamedTuple):
    """What a process says.

    Attributes:
        state: How it is.
        runs: What it runs, the oldest first; at most :data:`MOST_RUNS`.
    """

    state: WorkerState | EdgeState
    runs: Sequence[RunningExecution] = ()


class Fleet:
    """Says who lives, and tells it.

    Args:
        redis: The queue's Redis.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._say = load_script(redis, "shared", "fleet.lua")

    async def say(self, report: Report) -> None:
        """Say that a process lives, and how it is."""
        kind, name = kind_of(report.state), report.state.id
        await self._say(
            [fleet_key(kind), member_key(kind, name), runs_key(kind, name)],
            [
                name,
                int(ALIVE_FOR * 1000),
                msgspec.json.encode(report.state),
                msgspec.json.encode(report.runs),
            ],
        )

    async def leave(self, kind: Kind, name: str) -> None:
        """Take a process off."""
        await self._redis.delete(member_key(kind, name), runs_key(kind, name))
        await self._redis.zrem(fleet_key(kind), name)

    async def workers(self) -> list[WorkerState]:
        """List the workers that live, by host and process."""
        found = _readable(_workers, await self._states("worker"))
        return sorted(found, key=lambda worker: (worker.host, worker.pid))

    async def edges(self) -> list[EdgeState]:
        """List the edges that live, by host and process."""
        found = _readable(_edges, await self._states("edge"))
        return sorted(found, key=lambda edge: (edge.host, edge.pid))

    async def runs(self, workers: Sequence[WorkerState]) -> list[RunningExecution]:
        """List what workers run, the oldest first; of the busiest ones when there are many.

        Args:
            workers: Of :meth:`workers`.
        """
        busy = sorted((w for w in workers if w.running), key=lambda worker: -worker.running)
        keys = [runs_key("worker", worker.id) for worker in busy[:MOST_RUNS]]
        answers = await self._redis.mget(keys) if keys else []
        told = _readable(_runs, [data for data in answers if data is not None])
        runs = [run for some in told for run in some]
        return sorted(runs, key=lambda run: run.created_at)[:MOST_RUNS]

    async def _states(self, kind: Kind) -> list[bytes]:
        names: list[bytes] = await self._redis.zrevrange(fleet_key(kind), 0, MOST - 1)
        if not names:
            return []
        answers = await self._redis.mget([member_key(kind, name.decode()) for name in names])
        return [data for data in answers if data is not None]


def _readable(decoder: msgspec.json.Decoder[T], told: Iterable[bytes]) -> Iterator[T]:
    """Decode what processes said, but for what those of another release may say in another way."""
    for data in told:
        with suppress(msgspec.DecodeError):
            yield decoder.decode(data)


def kind_of(state: WorkerState | EdgeState) -> Kind:
    """Tell what kind of process says this of itself."""
    return "worker" if isinstance(state, WorkerState) else "edge"


@asynccontextmanager
async def reporting(
    redis: Client, tally: Tally, report: Callable[[], Report]
) -> AsyncIterator[None]:
    """Say every few seconds how this process is, and hand on what it measured, until the context ends.

    A Redis that is away is no error: it is tried again, and the process works without it.

    Args:
        redis: The queue's Redis.
        tally: What measures.
        report: Tells how it is.
    """
    fleet, pulse = Fleet(redis), Pulse(redis, tally)
    async with asyncio.TaskGroup() as tasks:
        speaking = tasks.create_task(_speak(fleet, pulse, report), name="report")
        try:
            yield
        finally:
            speaking.cancel()
            await asyncio.wait([speaking])
            # Nobody may be there to hear it, and the next thing to happen is the process's end.
            with suppress(Exception):
                async with asyncio.timeout(LAST_WORD):
                    await pulse.flush()
                    state = report().state
                    await fleet.leave(kind_of(state), state.id)


async def _speak(fleet: Fleet, pulse: Pulse, report: Callable[[], Report]) -> None:
    outage = Outage(logger, "operators don't hear of this process")
    while not cancelled():
        try:
            await fleet.say(report())
            await pulse.flush()
        except Exception as error:  # noqa: BLE001 - said once; a process works without it
            outage.goes_on(error)
        else:
            outage.is_over()
        # Not all processes of a deployment at once.
        await asyncio.sleep(random.uniform(0.8, 1.2) * SAY_EVERY)  # noqa: S311 - jitter

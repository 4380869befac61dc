"""From a start to its first chunk: ``python -m bench.starts --count 500 --running 1000``.

One start after the other, connecting included, on a system that does nothing else, and on one with many
executions that run, each with a reader.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, contest, parser
from bench.figure import Figure, Outcome, cpu_figures
from bench.load import connect, readers, run, until_chunks, until_ended
from bench.processes import CpuMeter
from bench.quantiles import quantile
from bench.table import show
from bench.target import Target, Work

START = b"event: start\n"
"""The first event of ours. No rival has one."""

ONE = Work(events=2, interval=0.02)
"""What is started: a chunk at once, and a second one, as resumable-stream forgets a stream that has
ended before its reader has come."""

IDLE = Work(events=2, interval=3600.0)
"""What runs beside it: a chunk, then silence."""

WARM_UP = 20
PATIENCE = 10.0


class Started(NamedTuple):
    """What came of a run.

    Attributes:
        running: How many executions ran beside.
        timed: How many starts were timed.
        failed: How many more got no chunk.
        event_ms: From before the request to the ``start`` event, in order; empty where there is none.
        chunk_ms: From before the request to the first chunk, in order.
        cpu_us: Role -> CPU time per start, what runs beside included, in µs.
    """

    running: int
    timed: int
    failed: int
    event_ms: list[float]
    chunk_ms: list[float]
    cpu_us: dict[str, float]


class _Timed(NamedTuple):
    event_ms: float | None
    chunk_ms: float | None


def starts(
    target: Target, count: int, *, running: int = 0, seconds: float = 60.0, patience: float = 60.0
) -> Started:
    """Time starts.

    Args:
        target: What is started, already running.
        count: How many.
        running: How many executions run beside, each with a reader.
        seconds: After how long it is enough, in s.
        patience: How long to wait until those beside run, in s.
    """
    return run(_starts(target, count, running, seconds, patience))


async def _starts(
    target: Target, count: int, running: int, seconds: float, patience: float
) -> Started:
    async with readers(running, lambda: target.run(IDLE), over=running / 500) as beside:
        await until_chunks(beside, patience)
        await _time_some(target, min(WARM_UP, count), seconds / 4)
        meter = CpuMeter(target.pids)
        timed = await _time_some(target, count, seconds)
        used = meter.used()
    chunks = sorted(one.chunk_ms for one in timed if one.chunk_ms is not None)
    if not chunks:
        raise TimeoutError(f"no chunk came from {len(timed)} starts")
    return Started(
        running=sum(1 for reader in beside if any(reader.seen())),
        timed=len(chunks),
        failed=len(timed) - len(chunks),
        event_ms=sorted(one.event_ms for one in timed if one.event_ms is not None),
        chunk_ms=chunks,
        cpu_us={role: cpu / len(timed) * 1e6 for role, cpu in used.items()},
    )


async def _time_some(target: Target, count: int, seconds: float) -> list[_Timed]:
    """Time starts until there are enough or it is too late, but one at least."""
    until = time.monotonic() + seconds
    timed = [await _time_one(target)]
    while len(timed) < count and time.monotonic() < until:
        timed.append(await _time_one(target))
    return timed


async def _time_one(target: Target) -> _Timed:
    """Start a stream and read it to its end."""
    began = time.monotonic_ns()  # before the request is made: some rivals take a step for that
    reader = await connect(target.run(ONE))
    try:
        await until_ended([reader], PATIENCE)
    finally:
        reader.close()
    first = next(reader.seen(), None)
    event = reader.came(START)
    return _Timed(
        event_ms=None if event is None else (event - began) / 1e6,
        chunk_ms=None if first is None else (first.got - began) / 1e6,
    )


def figures(work: str, found: Started) -> Iterator[Figure]:
    """Describe what came of a run.

    Args:
        work: What it is called in tables.
        found: What came of it.
    """
    if found.event_ms:
        yield Figure(work, "start event p50", "ms", quantile(found.event_ms, 0.5))
        yield Figure(work, "start event p99", "ms", quantile(found.event_ms, 0.99))
    yield Figure(work, "first chunk p50", "ms", quantile(found.chunk_ms, 0.5))
    yield Figure(work, "first chunk p99", "ms", quantile(found.chunk_ms, 0.99))
    yield from cpu_figures(work, "start", found.cpu_us)
    yield Figure(work, "failed", "", found.failed)


def compete(
    names: Sequence[str] = ALL,
    *,
    count: int = 500,
    running: int = 1000,
    seconds: float = 60.0,
    patience: float = 60.0,
) -> Iterator[Outcome]:
    """Measure everybody, idle and busy.

    Args:
        names: Who competes.
        count: How many starts, each time.
        running: How many executions run beside, the second time.
        seconds: After how long it is enough, each time, in s.
        patience: See :func:`starts`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        found = starts(target, count, seconds=seconds, patience=patience)
        yield from figures("idle", found)
        found = starts(target, count, running=running, seconds=seconds, patience=patience)
        if found.running < running:
            raise TimeoutError(f"only {found.running} of {running} executions ran")
        yield from figures(f"{running} running", found)

    return contest("starts", "start", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=500, help="how many starts")
    options.add_argument("--running", type=int, default=1000, help="how many executions beside")
    options.add_argument("--seconds", type=float, default=60.0, help="after how long it is enough")
    given = options.parse_args()
    show(compete(given.targets, count=given.count, running=given.running, seconds=given.seconds))


if __name__ == "__main__":
    main()

"""Live delivery: many streams at once, each with a reader: latency, and CPU per event."""

import asyncio
import time
from typing import NamedTuple

from bench.load import Reader, Seen, readers, run
from bench.processes import CpuMeter
from bench.quantiles import quantile
from bench.target import Target, Work


class Delivered(NamedTuple):
    """What came of a run.

    Attributes:
        streams: How many.
        rate: Events per second that all readers together got, in the window that was measured.
        p50_ms: Latency from the producer's clock to the reader's.
        p99_ms: The same.
        cpu_us: Role -> CPU time per event that a reader got, in µs.
        lost: Events that a reader never got, all times counted.
        twice: Events that a reader got more than once.
    """

    streams: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    lost: int
    twice: int


def live(target: Target, streams: int, *, rate: float = 10.0, seconds: float = 10.0) -> Delivered:
    """Run streams with one reader each.

    Args:
        target: What runs them, already started.
        streams: How many.
        rate: Events per second of each.
        seconds: How long to measure, after all of them run.
    """
    return run(_live(target, streams, rate, seconds))


async def _live(target: Target, streams: int, rate: float, seconds: float) -> Delivered:
    ramp = max(1.0, streams / 250)
    warm = 2.0
    # What was opened first must last until the end of the window.
    work = Work(events=int((ramp + warm + seconds + 1) * rate), interval=1 / rate)
    async with readers(streams, lambda: target.run(work), over=ramp) as opened:
        await asyncio.gather(*(reader.until(b"0:") for reader in opened))
        await asyncio.sleep(warm)
        meter = CpuMeter(target.pids)
        began = time.monotonic_ns()
        await asyncio.sleep(seconds)
        ended = time.monotonic_ns()
        used = meter.used()
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.ended.wait() for reader in opened))
    return _judge(opened, work.events, began, ended, used)


def _judge(
    opened: list[Reader], events: int, began: int, ended: int, used: dict[str, float]
) -> Delivered:
    times: list[float] = []
    lost = twice = 0
    for reader in opened:
        seen: list[Seen] = list(reader.seen())
        numbers = [one.number for one in seen]
        lost += events - len(set(numbers) & set(range(events)))
        twice += len(numbers) - len(set(numbers))
        times += [one.latency_ms for one in seen if began <= one.got < ended]
    times.sort()
    return Delivered(
        streams=len(opened),
        rate=len(times) / (ended - began) * 1e9,
        p50_ms=quantile(times, 0.5),
        p99_ms=quantile(times, 0.99),
        cpu_us={role: seconds / len(times) * 1e6 for role, seconds in used.items()},
        lost=lost,
        twice=twice,
    )

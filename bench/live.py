"""Live delivery: ``python -m bench.live --streams 1000 --seconds 10``.

Many streams at once, each with a reader: latency, and CPU time per event.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, FellBehind, contest, parser
from bench.figure import Figure, Outcome, cpu_figures
from bench.load import Reader, Seen, readers, run, until_chunks, until_ended
from bench.loss import loss, total
from bench.processes import CpuMeter
from bench.quantiles import quantile
from bench.table import show
from bench.target import Target, Work

RAMP = 250
"""So many streams are started in a second."""

WARM_UP = 2.0
"""How long all of them run before the measurement, or for as long as that if it is shorter, in s."""

KEEPS_UP = 0.9
"""Who delivers less than this part of what is produced has fallen behind."""


class Delivered(NamedTuple):
    """What came of a run.

    Attributes:
        streams: How many.
        rate: Events per second that all readers together got, in the window that was measured.
        p50_ms: Latency from the producer's clock to the reader's.
        p99_ms: The same.
        cpu_us: Role -> CPU time per event that a reader got, in µs.
        lost: Events that a reader never got, all times counted; of who has fallen behind, those that
            had not come when patience was out.
        twice: Events that a reader got more than once.
    """

    streams: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    lost: int
    twice: int


def live(
    target: Target,
    streams: int,
    *,
    rate: float = 10.0,
    seconds: float = 10.0,
    patience: float = 60.0,
) -> Delivered:
    """Run streams with one reader each.

    Args:
        target: What runs them, already started.
        streams: How many.
        rate: Events per second of each.
        seconds: How long to measure, after all of them run.
        patience: How long to wait for first chunks, and for ends, in s.
    """
    return run(_live(target, streams, rate, seconds, patience))


async def _live(
    target: Target, streams: int, rate: float, seconds: float, patience: float
) -> Delivered:
    ramp = streams / RAMP
    warm = min(WARM_UP, seconds)
    # What was opened first must last until the end of the window.
    work = Work(events=int((ramp + warm + seconds + 1) * rate), interval=1 / rate)
    async with readers(streams, lambda: target.run(work), over=ramp) as opened:
        await until_chunks(opened, patience)
        await asyncio.sleep(warm)
        meter = CpuMeter(target.pids)
        began = time.monotonic_ns()
        await asyncio.sleep(seconds)
        ended = time.monotonic_ns()
        used = meter.used()
        await until_ended(opened, patience)
    return _judge(opened, work.events, began, ended, used)


def _judge(
    opened: list[Reader], events: int, began: int, ended: int, used: dict[str, float]
) -> Delivered:
    times: list[float] = []
    losses = []
    for reader in opened:
        seen: list[Seen] = list(reader.seen())
        losses.append(loss((one.number for one in seen), events))
        times += [one.latency_ms for one in seen if began <= one.got < ended]
    if not times:
        raise TimeoutError(f"no event came in {(ended - began) / 1e9:.1f} s")
    times.sort()
    missed = total(losses)
    return Delivered(
        streams=len(opened),
        rate=len(times) / (ended - began) * 1e9,
        p50_ms=quantile(times, 0.5),
        p99_ms=quantile(times, 0.99),
        cpu_us={role: seconds / len(times) * 1e6 for role, seconds in used.items()},
        lost=missed.lost,
        twice=missed.twice,
    )


def figures(found: Delivered) -> Iterator[Figure]:
    """Describe what came of a run."""
    work = f"{found.streams} streams"
    yield Figure(work, "p50", "ms", found.p50_ms)
    yield Figure(work, "p99", "ms", found.p99_ms)
    yield Figure(work, "rate", "events/s", found.rate)
    yield from cpu_figures(work, "event", found.cpu_us)
    yield Figure(work, "lost", "", found.lost)
    yield Figure(work, "twice", "", found.twice)


def compete(
    names: Sequence[str] = ALL,
    *,
    streams: Sequence[int] = (100, 1000, 2000),
    rate: float = 10.0,
    seconds: float = 10.0,
    patience: float = 60.0,
) -> Iterator[Outcome]:
    """Measure everybody, with more and more streams until one falls behind.

    Args:
        names: Who competes.
        streams: How many, one after the other.
        rate: Events per second of each.
        seconds: How long to measure.
        patience: See :func:`live`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        for number, count in enumerate(streams, 1):
            found = live(target, count, rate=rate, seconds=seconds, patience=patience)
            yield from figures(found)
            # One event of each may fall out of the window at its edge.
            if number < len(streams) and found.rate < count * (KEEPS_UP * rate - 1 / seconds):
                raise FellBehind(
                    f"fell behind with {count} streams: {found.rate:,.0f} of "
                    f"{count * rate:,.0f} events/s"
                )

    return contest("live", "live", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--streams", type=int, nargs="+", default=[1000], help="how many streams")
    options.add_argument("--rate", type=float, default=10.0, help="events/s of each")
    options.add_argument("--seconds", type=float, default=10.0, help="how long to measure")
    given = options.parse_args()
    show(compete(given.targets, streams=given.streams, rate=given.rate, seconds=given.seconds))


if __name__ == "__main__":
    main()

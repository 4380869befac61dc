"""Everybody comes back at once: ``python -m bench.storm --readers 500``.

Each reader has a stream of its own. All connections are cut in the middle, and for a second nobody is
there; then all reconnect, each from what it has received whole.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, FellBehind, contest, parser
from bench.figure import Figure, Outcome, cpu_figures
from bench.load import Reader, connect, run, until_chunks, until_ended
from bench.loss import loss, total
from bench.processes import CpuMeter
from bench.quantiles import quantile
from bench.table import show
from bench.target import Target, Work

RATES = (2.0, 10.0)
"""Events per second of each stream: what everybody can do, so that there is a comparison, and what is
harder."""

BEFORE = 1.0
"""How long all are connected before the cut, in s."""

AWAY = 1.0
"""How long nobody is connected, in s."""

AFTER = 1.5
"""How long the shortest-lived stream goes on after the reconnects, at least, in s."""

BEGINS = 150
"""So many streams are begun in a second, at least."""


class Weathered(NamedTuple):
    """What came of a run.

    Attributes:
        readers: How many.
        rate: Events per second of each stream.
        caught_up_s: For each reader, from its reconnect until it had all chunks that were made before
            that, in order.
        cpu_us: Role -> CPU time per reader, from the reconnects to the ends of all streams, in µs.
        lost: Chunks that a reader never got.
        twice: Chunks that a reader got on both connections, or twice on one.
    """

    readers: int
    rate: float
    caught_up_s: list[float]
    cpu_us: dict[str, float]
    lost: int
    twice: int


class _Cut(NamedTuple):
    """A reader's two connections."""

    before: Reader
    after: Reader

    def numbers(self) -> Iterator[int]:
        for one in self.before.seen(whole=True):
            yield one.number
        for one in self.after.seen():
            yield one.number

    def caught_up(self) -> float:
        """Tell how long after the reconnect everything older than that had come, in s."""
        moment = self.after.began
        got = [one.got for one in self.after.seen() if one.made < moment]
        return (max(got) - moment) / 1e9 if got else 0.0


def storm(target: Target, count: int, *, rate: float = 10.0, patience: float = 60.0) -> Weathered:
    """Cut all readers off, and let all come back.

    Args:
        target: What runs the streams, already started.
        count: How many readers.
        rate: Events per second of each stream.
        patience: How long to wait for first chunks, and for ends, in s.

    Raises:
        FellBehind: A stream had ended before the last one was read.
    """
    return run(_storm(target, count, rate, patience))


async def _storm(target: Target, count: int, rate: float, patience: float) -> Weathered:
    lasts = count / BEGINS + BEFORE + AWAY + AFTER
    work = Work(events=int(lasts * rate), interval=1 / rate)
    streams: list[str] = []
    before: list[Reader] = []
    after: list[Reader] = []
    try:
        for _ in range(count):
            streams.append(target.begin(work))
            before.append(await connect(target.read(streams[-1])))
        await until_chunks(before, patience)
        await asyncio.sleep(BEFORE)
        ended = sum(reader.ended.is_set() for reader in before)
        if ended:
            raise FellBehind(
                f"fell behind with {count} streams of {rate:g} events/s: when all were read, "
                f"{ended} had ended"
            )
        for reader in before:
            reader.close()
        gone = time.monotonic()
        requests = [
            target.read(stream, reader.received)
            for stream, reader in zip(streams, before, strict=True)
        ]
        await asyncio.sleep(max(0.0, gone + AWAY - time.monotonic()))
        meter = CpuMeter(target.pids)
        after += await asyncio.gather(*(connect(request) for request in requests))
        await until_ended(after, patience)
        used = meter.used()
    finally:
        for reader in [*before, *after]:
            reader.close()
    cuts = [_Cut(*pair) for pair in zip(before, after, strict=True)]
    missed = total(loss(cut.numbers(), work.events) for cut in cuts)
    return Weathered(
        readers=count,
        rate=rate,
        caught_up_s=sorted(cut.caught_up() for cut in cuts),
        cpu_us={role: cpu / count * 1e6 for role, cpu in used.items()},
        lost=missed.lost,
        twice=missed.twice,
    )


def figures(found: Weathered) -> Iterator[Figure]:
    """Describe what came of a run."""
    work = f"{found.readers} readers, {found.rate:g} events/s"
    yield Figure(work, "caught up p50", "s", quantile(found.caught_up_s, 0.5))
    yield Figure(work, "caught up p99", "s", quantile(found.caught_up_s, 0.99))
    yield Figure(work, "all caught up", "s", found.caught_up_s[-1])
    yield from cpu_figures(work, "reader", found.cpu_us)
    yield Figure(work, "lost", "", found.lost)
    yield Figure(work, "twice", "", found.twice)


def compete(
    names: Sequence[str] = ALL,
    *,
    count: int = 500,
    rates: Sequence[float] = RATES,
    patience: float = 60.0,
) -> Iterator[Outcome]:
    """Measure everybody.

    Args:
        names: Who competes.
        count: How many readers.
        rates: Events per second of each stream, one after the other.
        patience: See :func:`storm`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        for rate in rates:
            yield from figures(storm(target, count, rate=rate, patience=patience))

    return contest("storm", "resume", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--readers", type=int, default=500, help="how many readers")
    options.add_argument(
        "--rates", type=float, nargs="+", default=RATES, help="events/s of each stream"
    )
    given = options.parse_args()
    show(compete(given.targets, count=given.readers, rates=given.rates))


if __name__ == "__main__":
    main()

"""One stream, many readers: ``python -m bench.fanout --readers 1 100 1000``."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from typing import NamedTuple

from bench.contest import ALL, contest, parser
from bench.figure import Figure, Outcome
from bench.load import Reader, readers, run, until_chunks, until_ended
from bench.loss import loss, total
from bench.processes import CpuMeter
from bench.quantiles import quantile
from bench.store import StoreCounts, StoreMeter
from bench.table import show
from bench.target import Target, Work

LEAD = 0.6
CONNECTS = 400
"""Readers come within ``LEAD`` s, and one more second for so many of them."""


class StoreWork(NamedTuple):
    """What a store did.

    Attributes:
        commands: How many commands it ran, per event, while nobody came or went.
        sent: How much it sent, in bytes per event, in the same time.
        commands_around: How many more it ran, per reader: for the stream's begin and end, and for
            each reader that came and went.
    """

    commands: float
    sent: float
    commands_around: float


class FannedOut(NamedTuple):
    """What came of a run.

    Attributes:
        readers: How many.
        p50_ms: Latency from the producer's clock to the readers', over all events and readers.
        p99_ms: The same.
        cpu_us: Role -> CPU time per *event*, in µs, while nobody comes or goes.
        server_us: The server's CPU time per event and reader, in µs, of the same time.
        store: What the store did; ``None`` without one.
        lost: Events that a reader never got.
        twice: Events that a reader got more than once.
    """

    readers: int
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    server_us: float
    store: StoreWork | None
    lost: int
    twice: int


def fanout(
    target: Target,
    count: int,
    *,
    rate: float = 10.0,
    seconds: float = 5.0,
    patience: float = 60.0,
) -> FannedOut:
    """Run one stream.

    Args:
        target: What runs it, already started.
        count: How many readers.
        rate: Events per second.
        seconds: How long the stream is.
        patience: How long to wait for its end, in s.
    """
    return run(_fanout(target, count, rate, seconds, patience))


class _Window(NamedTuple):
    """The time from after the first event to before the last one.

    Attributes:
        began: In monotonic ns.
        ended: The same.
        used: Role -> CPU time, in s.
        counts: Of the store: before all, at the begin, at the end and after all; empty without one.
    """

    began: int
    ended: int
    used: dict[str, float]
    counts: list[StoreCounts]


async def _fanout(
    target: Target, count: int, rate: float, seconds: float, patience: float
) -> FannedOut:
    url = target.store_url
    with closing(StoreMeter(url)) if url else nullcontext() as store:

        def look() -> list[StoreCounts]:
            return [] if store is None else [store.counts()]

        lead = LEAD + count / CONNECTS
        work = Work(events=max(5, int(seconds * rate)), interval=1 / rate, delay=lead)
        counts = look()
        stream = target.begin(work)
        async with readers(count, lambda: target.read(stream)) as opened:
            await until_chunks(opened[:1], patience)  # a job may be late, and its events with it
            await asyncio.sleep(work.interval / 2)
            counts += look()
            meter = CpuMeter(target.pids)
            began = time.monotonic_ns()
            await asyncio.sleep((work.events - 2) * work.interval)
            used, ended = meter.used(), time.monotonic_ns()
            counts += look()
            await until_ended(opened, patience)
            counts += look()
    return _judge(opened, work.events, _Window(began, ended, used, counts))


def _judge(opened: Sequence[Reader], events: int, window: _Window) -> FannedOut:
    seen = [list(reader.seen()) for reader in opened]
    made = [one for each in seen for one in each if window.began <= one.made < window.ended]
    if not made:
        raise TimeoutError("no event came while all readers were there")
    times = sorted(one.latency_ms for one in made)
    measured = len({one.number for one in made})
    missed = total(loss((one.number for one in each), events) for each in seen)
    return FannedOut(
        readers=len(opened),
        p50_ms=quantile(times, 0.5),
        p99_ms=quantile(times, 0.99),
        cpu_us={role: cpu / measured * 1e6 for role, cpu in window.used.items()},
        server_us=window.used["server"] / measured / len(opened) * 1e6,
        store=_store_work(window.counts, measured, len(opened)) if window.counts else None,
        lost=missed.lost,
        twice=missed.twice,
    )


def _store_work(counts: Sequence[StoreCounts], events: int, count: int) -> StoreWork:
    first, began, ended, last = counts
    commands = ended.commands - began.commands
    return StoreWork(
        commands=commands / events,
        sent=(ended.sent - began.sent) / events,
        commands_around=(last.commands - first.commands - commands) / count,
    )


def figures(found: FannedOut) -> Iterator[Figure]:
    """Describe what came of a run."""
    work = "1 reader" if found.readers == 1 else f"{found.readers} readers"
    yield Figure(work, "p50", "ms", found.p50_ms)
    yield Figure(work, "p99", "ms", found.p99_ms)
    yield Figure(work, "CPU server", "µs/event and reader", found.server_us)
    if "store" in found.cpu_us:
        yield Figure(work, "CPU store", "µs/event", found.cpu_us["store"])
    if found.store is not None:
        yield Figure(work, "store commands", "/event", found.store.commands)
        yield Figure(work, "store bytes sent", "/event", found.store.sent)
        yield Figure(work, "store commands around", "/reader", found.store.commands_around)
    yield Figure(work, "lost", "", found.lost)
    yield Figure(work, "twice", "", found.twice)


def compete(
    names: Sequence[str] = ALL,
    *,
    counts: Iterable[int] = (1, 100, 1000),
    rate: float = 10.0,
    seconds: float = 5.0,
    patience: float = 60.0,
) -> Iterator[Outcome]:
    """Measure everybody, with more and more readers.

    Args:
        names: Who competes.
        counts: How many readers, one after the other.
        rate: Events per second.
        seconds: How long each stream is.
        patience: See :func:`fanout`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        for count in counts:
            yield from figures(fanout(target, count, rate=rate, seconds=seconds, patience=patience))

    return contest("fanout", "fanout", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--readers", type=int, nargs="+", default=[1, 100, 1000])
    options.add_argument("--rate", type=float, default=10.0, help="events/s")
    options.add_argument("--seconds", type=float, default=5.0, help="how long the stream is")
    given = options.parse_args()
    show(compete(given.targets, counts=given.readers, rate=given.rate, seconds=given.seconds))


if __name__ == "__main__":
    main()

"""One stream, many readers: ``python -m bench.fanout --readers 1 100 1000``."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, contest, parser
from bench.figure import Figure, Outcome
from bench.load import Reader, readers, run, until_ended
from bench.loss import loss, total
from bench.processes import CpuMeter
from bench.quantiles import quantile
from bench.store import store_counts
from bench.table import show
from bench.target import Target, Work

LEAD = 0.5
CONNECTS = 250
"""Readers come within ``LEAD`` s, and one more second for so many of them."""

SETTLED = 0.2
"""How long before the first event all of them are to be there, in s."""


class FannedOut(NamedTuple):
    """What came of a run.

    Attributes:
        readers: How many.
        p50_ms: Latency from the producer's clock to the readers', over all events and readers.
        p99_ms: The same.
        cpu_us: Role -> CPU time per *event*, in µs.
        server_us: The server's CPU time per event and reader, in µs.
        commands: How many commands the store ran, per event; ``None`` without a store.
        sent: How much the store sent, in bytes per event; ``None`` without a store.
        lost: Events that a reader never got.
        twice: Events that a reader got more than once.
    """

    readers: int
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    server_us: float
    commands: float | None
    sent: float | None
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


async def _fanout(
    target: Target, count: int, rate: float, seconds: float, patience: float
) -> FannedOut:
    lead = LEAD + count / CONNECTS
    work = Work(events=max(1, int(seconds * rate)), interval=1 / rate, delay=lead)
    stream = target.begin(work)
    begun = time.monotonic()
    async with readers(count, lambda: target.read(stream)) as opened:
        # Until shortly before the first event: what it costs to come is not what is measured.
        await asyncio.sleep(max(0.1, begun + lead - SETTLED - time.monotonic()))
        complete = time.monotonic_ns()
        url = target.store_url
        counted = store_counts(url) if url else None
        meter = CpuMeter(target.pids)
        await until_ended(opened, lead + seconds + patience)
        used = meter.used()
        counts = store_counts(url) if url else None
    commands = sent = None
    if counted is not None and counts is not None:
        commands = (counts.commands - counted.commands) / work.events
        sent = (counts.sent - counted.sent) / work.events
    return _judge(opened, work.events, complete, used, commands, sent)


def _judge(
    opened: Sequence[Reader],
    events: int,
    complete: int,
    used: dict[str, float],
    commands: float | None,
    sent: float | None,
) -> FannedOut:
    seen = [list(reader.seen()) for reader in opened]
    # What was made before the last reader had come is old when it gets it.
    times = sorted(one.latency_ms for each in seen for one in each if one.made >= complete)
    if not times:
        raise TimeoutError("no event came after the last reader")
    missed = total(loss((one.number for one in each), events) for each in seen)
    return FannedOut(
        readers=len(opened),
        p50_ms=quantile(times, 0.5),
        p99_ms=quantile(times, 0.99),
        cpu_us={role: cpu / events * 1e6 for role, cpu in used.items()},
        server_us=used["server"] / events / len(opened) * 1e6,
        commands=commands,
        sent=sent,
        lost=missed.lost,
        twice=missed.twice,
    )


def figures(found: FannedOut) -> Iterator[Figure]:
    """Describe what came of a run."""
    work = "1 reader" if found.readers == 1 else f"{found.readers} readers"
    yield Figure(work, "p50", "ms", found.p50_ms)
    yield Figure(work, "p99", "ms", found.p99_ms)
    yield Figure(work, "CPU server", "µs/event and reader", found.server_us)
    if "store" in found.cpu_us:
        yield Figure(work, "CPU store", "µs/event", found.cpu_us["store"])
    if found.commands is not None and found.sent is not None:
        yield Figure(work, "store commands", "/event", found.commands)
        yield Figure(work, "store bytes sent", "/event", found.sent)
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

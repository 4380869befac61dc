"""How fast events are written: ``python -m bench.appends --seconds 3``.

To the store alone, from one process, one at a time and in batches; and through everything, from one
handler that never waits to one reader.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, contest, parser
from bench.figure import Figure, Outcome, cpu_figures
from bench.load import connect, run, until_ended
from bench.loss import loss
from bench.processes import CpuMeter
from bench.table import show
from bench.target import Target, Work

BATCH = 500
DELAY = 0.5
"""Before a handler's first event, in s: its reader is there, and looks."""


class Through(NamedTuple):
    """What came of one handler that never waits.

    Attributes:
        events: How many it yielded.
        rate: Events per second, from the first one's making to the last one's arrival.
        cpu_us: Role -> CPU time per event, in µs.
        lost: Events that never came.
        twice: Events that came twice.
    """

    events: int
    rate: float
    cpu_us: dict[str, float]
    lost: int
    twice: int


def through(target: Target, events: int, *, patience: float = 60.0) -> Through:
    """Run one stream as fast as it goes.

    Args:
        target: What runs it, already started.
        events: How many.
        patience: How long it may take, in s.
    """
    return run(_through(target, events, patience))


async def _through(target: Target, events: int, patience: float) -> Through:
    meter = CpuMeter(target.pids)
    reader = await connect(target.run(Work(events=events, delay=DELAY)))
    try:
        await until_ended([reader], patience)
    finally:
        reader.close()
    used = meter.used()
    seen = list(reader.seen())
    if not seen:
        raise TimeoutError("no event came")
    took = max(one.got for one in seen) - min(one.made for one in seen)
    missed = loss((one.number for one in seen), events)
    return Through(
        events=events,
        rate=len(seen) / took * 1e9,
        cpu_us={role: cpu / events * 1e6 for role, cpu in used.items()},
        lost=missed.lost,
        twice=missed.twice,
    )


def figures(found: Through) -> Iterator[Figure]:
    """Describe what came of one handler."""
    work = f"handler to reader, {found.events} events"
    yield Figure(work, "rate", "events/s", found.rate)
    yield from cpu_figures(work, "event", found.cpu_us)
    yield Figure(work, "lost", "", found.lost)
    yield Figure(work, "twice", "", found.twice)


def compete(
    names: Sequence[str] = ALL,
    *,
    seconds: float = 3.0,
    events: int = 20_000,
    patience: float = 60.0,
) -> Iterator[Outcome]:
    """Measure everybody.

    Args:
        names: Who competes.
        seconds: For how long to append, each time.
        events: How many one handler yields.
        patience: See :func:`through`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        if "append" in target.can:
            for work, batch in (("one at a time", 1), (f"in batches of {BATCH}", BATCH)):
                yield Figure(work, "rate", "events/s", target.appends(batch, seconds))
        yield from figures(through(target, events, patience=patience))

    return contest("appends", "live", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=3.0, help="how long to append, each time")
    options.add_argument("--events", type=int, default=20_000, help="how many one handler yields")
    given = options.parse_args()
    show(compete(given.targets, seconds=given.seconds, events=given.events))


if __name__ == "__main__":
    main()

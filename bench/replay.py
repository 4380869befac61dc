"""Reading a log that is there: ``python -m bench.replay --events 10000``."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.contest import ALL, contest, parser
from bench.figure import Figure, Outcome, cpu_figures
from bench.load import Reader, connect, run, until_ended
from bench.loss import Loss, loss, total
from bench.processes import CpuMeter
from bench.table import show
from bench.target import Target, Work


class Replayed(NamedTuple):
    """What came of a run.

    Attributes:
        events: How many the log has.
        rates: Events per second of each reading, connecting included, slowest first.
        cpu_us: Role -> CPU time per event, in µs.
        lost: Events that did not come, over all readings.
        twice: Events that came twice.
    """

    events: int
    rates: list[float]
    cpu_us: dict[str, float]
    lost: int
    twice: int


def replay(target: Target, events: int, *, rounds: int = 5, patience: float = 60.0) -> Replayed:
    """Make a log, and read it again and again, one reader at a time.

    Args:
        target: What has it, already started.
        events: How long the log is.
        rounds: How often.
        patience: How long one reading may take, in s.
    """
    return run(_replay(target, events, rounds, patience))


async def _replay(target: Target, events: int, rounds: int, patience: float) -> Replayed:
    stream = target.begin(Work(events=events))
    await _read(target, stream, patience)  # until it has ended
    meter = CpuMeter(target.pids)
    found = [await _read(target, stream, patience) for _ in range(rounds)]
    used = meter.used()
    rates = [_rate(reader) for reader in found]
    missed: Loss = total(loss((one.number for one in each.seen()), events) for each in found)
    return Replayed(
        events=events,
        rates=sorted(rates),
        cpu_us={role: cpu / events / rounds * 1e6 for role, cpu in used.items()},
        lost=missed.lost,
        twice=missed.twice,
    )


async def _read(target: Target, stream: str, patience: float) -> Reader:
    reader = await connect(target.read(stream))
    try:
        await until_ended([reader], patience)
    finally:
        reader.close()
    return reader


def _rate(reader: Reader) -> float:
    times = [one.got for one in reader.seen()]
    return len(times) / (max(times) - reader.began) * 1e9 if times else 0.0


def figures(found: Replayed) -> Iterator[Figure]:
    """Describe what came of a run."""
    work = f"{found.events} events"
    yield Figure(work, "rate", "events/s", median(found.rates))
    yield Figure(work, "slowest", "events/s", found.rates[0])
    yield from cpu_figures(work, "event", found.cpu_us)
    yield Figure(work, "lost", "", found.lost)
    yield Figure(work, "twice", "", found.twice)


def compete(
    names: Sequence[str] = ALL, *, events: int = 10_000, rounds: int = 5, patience: float = 60.0
) -> Iterator[Outcome]:
    """Measure everybody.

    Args:
        names: Who competes.
        events: How long the log is.
        rounds: How often it is read.
        patience: See :func:`replay`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        return figures(replay(target, events, rounds=rounds, patience=patience))

    return contest("replay", "replay", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--events", type=int, default=10_000, help="how long the log is")
    options.add_argument("--rounds", type=int, default=5, help="how often it is read")
    given = options.parse_args()
    show(compete(given.targets, events=given.events, rounds=given.rounds))


if __name__ == "__main__":
    main()

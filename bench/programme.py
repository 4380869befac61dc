"""What one run of the whole bench does, and how much of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from bench import appends, crash, fanout, hammer, jobs, live, memory, replay, starts, stops, storm
from bench.figure import Outcome


class Amounts(NamedTuple):
    """How much of each.

    Attributes:
        starts: How many starts are timed, idle and busy each.
        start_seconds: After how long these are enough, in s.
        running: How many executions run beside the busy ones.
        streams: How many streams with a reader each, one after the other.
        seconds: How long these are measured, in s.
        readers: How many readers of one stream, one after the other.
        fanout_seconds: How long that stream is, in s.
        log: How many events the log has that is replayed.
        storm: How many readers come back at once.
        storm_rates: Events per second of their streams, one after the other.
        append_seconds: For how long to append, each time, in s.
        burst: How many events one handler yields that never waits.
        jobs: How many no-op executions.
        workers: By how many workers, one after the other.
        idle: How many idle readers.
        settle: How long nothing happens before memory is looked at, in s.
        logs: How many logs are kept, of a hundred events.
        leases: The leases of workers that crash, one after the other, in s.
        crashes: How many of them.
        stops: How many cancellations of each handler.
        hammer_seconds: How long a neighbour is looked at, each time, in s.
        patience: How long to wait for who falls behind, each time, in s.
    """

    starts: int
    start_seconds: float
    running: int
    streams: tuple[int, ...]
    seconds: float
    readers: tuple[int, ...]
    fanout_seconds: float
    log: int
    storm: int
    storm_rates: tuple[float, ...]
    append_seconds: float
    burst: int
    jobs: int
    workers: tuple[int, ...]
    idle: int
    settle: float
    logs: int
    leases: tuple[float, ...]
    crashes: int
    stops: int
    hammer_seconds: float
    patience: float


FULL: Final = Amounts(
    starts=300,
    start_seconds=6.0,
    running=1000,
    streams=(100, 1000, 2000),
    seconds=5.0,
    readers=(1, 100, 1000),
    fanout_seconds=4.0,
    log=10_000,
    storm=500,
    storm_rates=storm.RATES,
    append_seconds=2.0,
    burst=10_000,
    jobs=3000,
    workers=(1, 2, 4),
    idle=1000,
    settle=memory.SETTLE,
    logs=200,
    leases=(2.0, 10.0),
    crashes=2,
    stops=30,
    hammer_seconds=25.0,
    patience=15.0,
)
"""What the bars are about."""

QUICK: Final = Amounts(
    starts=20,
    start_seconds=0.7,
    running=20,
    streams=(20,),
    seconds=0.5,
    readers=(1, 20),
    fanout_seconds=0.5,
    log=2000,
    storm=20,
    storm_rates=(10.0,),
    append_seconds=0.3,
    burst=2000,
    jobs=200,
    workers=(2,),
    idle=50,
    settle=0.2,
    logs=20,
    leases=(2.0,),
    crashes=1,
    stops=3,
    hammer_seconds=1.0,
    patience=5.0,
)
"""Whether all of it still works; its figures say little."""

Compete = Callable[[Sequence[str]], Iterator[Outcome]]


def scenarios(much: Amounts) -> dict[str, Compete]:
    """List all scenarios by name, in the order of a run.

    Args:
        much: How much of each.
    """
    return {
        "starts": lambda names: starts.compete(
            names,
            count=much.starts,
            running=much.running,
            seconds=much.start_seconds,
            patience=much.patience,
        ),
        "live": lambda names: live.compete(
            names, streams=much.streams, seconds=much.seconds, patience=much.patience
        ),
        "fanout": lambda names: fanout.compete(
            names, counts=much.readers, seconds=much.fanout_seconds, patience=much.patience
        ),
        "replay": lambda names: replay.compete(names, events=much.log, patience=much.patience),
        "storm": lambda names: storm.compete(
            names, count=much.storm, rates=much.storm_rates, patience=much.patience
        ),
        "appends": lambda names: appends.compete(
            names, seconds=much.append_seconds, events=much.burst, patience=much.patience
        ),
        "jobs": lambda names: jobs.compete(names, workers=much.workers, count=much.jobs),
        "memory": lambda names: memory.compete(
            names, count=much.idle, logs=much.logs, settle=much.settle, patience=much.patience
        ),
        "crash": lambda names: crash.compete(names, leases=much.leases, rounds=much.crashes),
        "stops": lambda names: stops.compete(names, count=much.stops),
        "hammer": lambda names: hammer.compete(names, seconds=much.hammer_seconds),
    }


SCENARIOS: Final = tuple(scenarios(QUICK))
"""Their names."""

"""A neighbour's starts while another account hammers: ``python -m bench.hammer --seconds 30``.

One account starts some times a second, each to its first chunk; another one, with a key of its own, starts
10,000 times a minute at the same edge: not at all, within a limit of starts, and without any limit.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bench.contest import ALL, OURS, guarded, parser
from bench.figure import Figure, Outcome
from bench.load import connect, run
from bench.machpay import MachPay
from bench.quantiles import quantile
from bench.starts import ONE
from bench.table import show
from bench.target import Request
from ops.system import ROOT
from shared.holds import Holds
from shared.redis import connect as connect_redis

NEIGHBOUR: Final = "neighbours-key-0123456789"
HAMMER: Final = "hammers-key-0123456789abc"
KEYS: Final = f"neighbour:{NEIGHBOUR},hammer:{HAMMER}"

PER_MINUTE: Final = 10_000
LIMIT: Final = 600
"""Of the account that hammers, in starts per minute."""

ALONE: Final = "neighbour alone"
LIMITED: Final = f"beside 10,000 starts/min, limit {LIMIT}"
UNLIMITED: Final = "beside 10,000 starts/min, no limit"

EVERY: Final = 0.25
"""How often the neighbour starts, in s."""

LIMIT_KNOWN: Final = 1.5
"""How long an edge may take to notice a limit, in s, and a little more."""

PATIENCE: Final = 10.0


class Beside(NamedTuple):
    """What came of the neighbour's starts.

    Attributes:
        chunk_ms: From before each request to its first chunk, in order.
        statuses: How many answers of each status the hammer got.
        per_minute: How often it really started.
    """

    chunk_ms: list[float]
    statuses: dict[int, int]
    per_minute: float


def alone(target: MachPay, seconds: float) -> Beside:
    """Time the neighbour's starts while nobody else starts."""
    return Beside(run(_neighbour(target, seconds)), {}, 0.0)


def beside(target: MachPay, seconds: float, per_minute: int = PER_MINUTE) -> Beside:
    """Time the neighbour's starts beside the hammer.

    Args:
        target: Where, already started with :data:`KEYS`.
        seconds: For how long.
        per_minute: How often the hammer starts.
    """
    command = [sys.executable, "-m", "bench.hammering"]
    command += [str(target.ports[0]), HAMMER, str(per_minute)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as hammer:
        began = time.monotonic()
        try:
            chunk_ms = run(_neighbour(target, seconds))
            said, _ = hammer.communicate("", timeout=PATIENCE)
        finally:
            hammer.kill()
    statuses = {int(one): int(many) for one, _, many in (w.partition(":") for w in said.split())}
    return Beside(chunk_ms, statuses, sum(statuses.values()) * 60 / (time.monotonic() - began))


async def _neighbour(target: MachPay, seconds: float) -> list[float]:
    request = target.ask(
        "POST", "/v1/skills/paced/stream", ONE, {"Authorization": f"Bearer {NEIGHBOUR}"}
    )
    found = []
    due = time.monotonic()
    until = due + seconds
    while due < until:
        await asyncio.sleep(due - time.monotonic())
        due += EVERY
        found.append(await _first_chunk(request))
    return sorted(found)


async def _first_chunk(request: Request) -> float:
    """Start, and tell how long the first chunk took, in ms."""
    began = time.monotonic_ns()
    reader = await connect(request)
    try:
        async with asyncio.timeout(PATIENCE):
            await reader.until_chunk()
            first = next(reader.seen(), None)
            if first is None:
                raise ConnectionError(f"no chunk came: {reader.received[:200]!r}")
            await reader.ended.wait()
    finally:
        reader.close()
    return (first.got - began) / 1e6


async def _limit(target: MachPay, starts_per_minute: int) -> None:
    redis = connect_redis(target.store_url)
    await Holds(redis).limit("hammer", {"starts_per_minute": starts_per_minute})
    await redis.aclose()
    await asyncio.sleep(LIMIT_KNOWN)


def figures(work: str, found: Beside) -> Iterator[Figure]:
    """Describe what came of it.

    Args:
        work: What it is called in tables.
        found: What came of it.
    """
    yield Figure(work, "first chunk p50", "ms", quantile(found.chunk_ms, 0.5))
    yield Figure(work, "first chunk p99", "ms", quantile(found.chunk_ms, 0.99))
    if found.statuses:
        yield Figure(work, "hammer's starts per minute", "", found.per_minute)
        yield Figure(work, "of these accepted", "", found.statuses.get(202, 0))
        yield Figure(work, "of these refused (429)", "", found.statuses.get(429, 0))


def compete(
    names: Sequence[str] = ALL, *, seconds: float = 30.0, per_minute: int = PER_MINUTE
) -> Iterator[Outcome]:
    """Measure ours.

    Args:
        names: Who competes: ours has to be one of them.
        seconds: How long each of the three, in s.
        per_minute: How often the hammer starts.
    """

    def measure() -> Iterator[Figure]:
        with MachPay(settings={"MACHPAY_API_KEYS": KEYS}) as target:
            alone(target, seconds / 4)  # warm
            yield from figures(ALONE, alone(target, seconds))
            run(_limit(target, LIMIT))
            yield from figures(LIMITED, beside(target, seconds, per_minute))
            run(_limit(target, 0))
            yield from figures(UNLIMITED, beside(target, seconds, per_minute))

    if OURS in names:
        yield from guarded("hammer", OURS, measure)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=30.0, help="for how long, each time")
    options.add_argument(
        "--rate", type=int, default=PER_MINUTE, help="the hammer's starts a minute"
    )
    given = options.parse_args()
    show(compete(given.targets, seconds=given.seconds, per_minute=given.rate))


if __name__ == "__main__":
    main()

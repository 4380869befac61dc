"""What waits in memory: ``python -m bench.memory --readers 1000``.

For each reader of a stream that says nothing, each execution that runs, and each log that is kept.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, contest, parser
from bench.figure import Figure, Outcome
from bench.load import readers, run, until_chunks, until_ended
from bench.processes import resident_bytes
from bench.store import stored_bytes
from bench.table import show
from bench.target import Target, Work

IDLE = Work(events=2, interval=3600.0)
"""A chunk, then silence."""

WARM_UP = 10
"""Readers that come and go before anything is measured: what the first ones cost is paid once."""

SETTLE = 1.0
"""How long nothing happens before memory is looked at, in s: a store takes a while to forget."""

AT_ONCE = 50


class Held(NamedTuple):
    """What running executions take, each with a reader.

    Attributes:
        executions: How many.
        resident: Role -> memory of its processes per execution, in bytes; a store's is ``stored``.
        stored: What the store says that it holds, per execution, in bytes; ``None`` without a store.
    """

    executions: int
    resident: dict[str, float]
    stored: float | None


class Kept(NamedTuple):
    """What executions take that have ended.

    Attributes:
        logs: How many.
        events: How many chunks each has.
        stored: What the store says that it holds, per log, in bytes.
    """

    logs: int
    events: int
    stored: float


def hold(target: Target, count: int, *, settle: float = SETTLE, patience: float = 60.0) -> Held:
    """Run executions that wait, each with a reader.

    Args:
        target: What runs them, already started, preferably just now.
        count: How many.
        settle: How long nothing happens before memory is looked at, in s.
        patience: How long to wait until all run, in s.
    """
    return run(_hold(target, count, settle, patience))


async def _hold(target: Target, count: int, settle: float, patience: float) -> Held:
    async with readers(min(WARM_UP, count), lambda: target.run(Work(events=2))) as opened:
        await until_ended(opened, patience)
    await asyncio.sleep(settle)
    before, stored_before = _resident(target), _stored(target)
    async with readers(count, lambda: target.run(IDLE), over=count / 500) as opened:
        await until_chunks(opened, patience)
        await asyncio.sleep(settle)
        after, stored = _resident(target), _stored(target)
        running = sum(1 for reader in opened if any(reader.seen()))
    if running < count:
        raise TimeoutError(f"only {running} of {count} executions ran")
    return Held(
        executions=count,
        resident={role: (after[role] - size) / count for role, size in before.items()},
        stored=None
        if stored is None or stored_before is None
        else (stored - stored_before) / count,
    )


def keep(
    target: Target, logs: int, events: int, *, settle: float = SETTLE, patience: float = 60.0
) -> Kept:
    """Run executions to their ends.

    Args:
        target: What runs them, already started, with a store.
        logs: How many.
        events: How many chunks each has.
        settle: See :func:`hold`.
        patience: How long to wait for fifty of them, in s.
    """
    return run(_keep(target, logs, events, settle, patience))


async def _keep(target: Target, logs: int, events: int, settle: float, patience: float) -> Kept:
    work = Work(events=events, interval=0.002)
    await asyncio.sleep(settle)
    before = stored_bytes(target.store_url)
    left = logs
    while left:
        async with readers(min(left, AT_ONCE), lambda: target.run(work)) as opened:
            await until_ended(opened, patience)
        left -= len(opened)
    await asyncio.sleep(settle)
    return Kept(logs, events, (stored_bytes(target.store_url) - before) / logs)


def _resident(target: Target) -> dict[str, int]:
    return {role: resident_bytes(pids) for role, pids in target.pids.items() if role != "store"}


def _stored(target: Target) -> int | None:
    return stored_bytes(target.store_url) if target.store_url else None


def figures(found: Held | Kept) -> Iterator[Figure]:
    """Describe what came of a run."""
    if isinstance(found, Kept):
        work = f"{found.logs} logs of {found.events} events"
        yield Figure(work, "store per log", "KiB", found.stored / 1024)
        return
    work = f"{found.executions} idle readers"
    yield Figure(work, "server per reader", "KiB", found.resident["server"] / 1024)
    if "producer" in found.resident:
        yield Figure(work, "producer per execution", "KiB", found.resident["producer"] / 1024)
    if found.stored is not None:
        yield Figure(work, "store per execution", "KiB", found.stored / 1024)


def compete(
    names: Sequence[str] = ALL,
    *,
    count: int = 1000,
    logs: int = 200,
    events: int = 100,
    settle: float = SETTLE,
    patience: float = 60.0,
) -> Iterator[Outcome]:
    """Measure everybody.

    Args:
        names: Who competes.
        count: How many readers.
        logs: How many logs to keep.
        events: How many chunks each of them has.
        settle: See :func:`hold`.
        patience: See :func:`hold`.
    """

    def measure(target: Target) -> Iterator[Figure]:
        yield from figures(hold(target, count, settle=settle, patience=patience))
        if target.store_url and "replay" in target.can:
            yield from figures(keep(target, logs, events, settle=settle, patience=patience))

    return contest("memory", "idle", measure, names)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--readers", type=int, default=1000, help="how many readers")
    options.add_argument("--logs", type=int, default=200, help="how many logs to keep")
    options.add_argument("--events", type=int, default=100, help="how many chunks each has")
    options.add_argument(
        "--settle", type=float, default=SETTLE, help="how long to wait for it, in s"
    )
    given = options.parse_args()
    amounts = {"count": given.readers, "logs": given.logs, "events": given.events}
    show(compete(given.targets, **amounts, settle=given.settle))


if __name__ == "__main__":
    main()

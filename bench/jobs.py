"""How many no-op executions a second: ``python -m bench.jobs --workers 1 2 4``.

Ours go the whole way: each is a request, a start in the log, a job, a claim, a chunk, a bill and an
end, read by the client that asked. The usual way's are jobs only, that nobody waits for and that write
nothing: see :mod:`bench.rivals.usual`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bench.contest import ALL, OURS, contest, parser
from bench.figure import Figure, Outcome, cpu_figures
from bench.machpay import MachPay
from bench.processes import CpuMeter
from bench.table import show
from bench.target import Target


class Executed(NamedTuple):
    """What came of a run.

    Attributes:
        workers: How many.
        edges: How many.
        rate: Executions per second.
        cpu_us: Role -> CPU time per execution, in µs; empty for rivals, whose workers come and go.
    """

    workers: int
    edges: int
    rate: float
    cpu_us: dict[str, float]


def jobs(target: Target, workers: int, count: int) -> Executed:
    """Run executions that do nothing.

    Args:
        target: What runs them, already started; ours with so many workers.
        workers: How many.
        count: How many executions.
    """
    if not isinstance(target, MachPay):
        return Executed(workers, 1, target.jobs(workers, count), {})
    meter = CpuMeter(target.pids)
    rate = target.jobs(workers, count)
    all_of_them = count + 1 + count // 10  # those that warm up, too
    used = meter.used()
    cpu_us = {role: cpu / all_of_them * 1e6 for role, cpu in used.items()}
    return Executed(workers, len(target.ports), rate, cpu_us)


def figures(found: Executed) -> Iterator[Figure]:
    """Describe what came of a run."""
    work = "1 worker" if found.workers == 1 else f"{found.workers} workers"
    if found.edges > 1:
        work += f", {found.edges} edges"
    yield Figure(work, "rate", "jobs/s", found.rate)
    if found.cpu_us:
        yield from cpu_figures(work, "job", found.cpu_us)


def compete(
    names: Sequence[str] = ALL, *, workers: Iterable[int] = (1, 2, 4), count: int = 5000
) -> Iterator[Outcome]:
    """Measure everybody, with one edge; then ours with two.

    Args:
        names: Who competes.
        workers: With how many, one after the other.
        count: How many executions.
    """
    runs = [(number, 1) for number in workers]
    runs.append((2, 2))
    for number, edges in runs:

        def measure(target: Target, number: int = number) -> Iterator[Figure]:
            return figures(jobs(target, number, count))

        who = names if edges == 1 else [name for name in names if name == OURS]
        yield from contest("jobs", "jobs", measure, who, workers=number, edges=edges)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--count", type=int, default=5000, help="how many executions")
    given = options.parse_args()
    show(compete(given.targets, workers=given.workers, count=given.count))


if __name__ == "__main__":
    main()

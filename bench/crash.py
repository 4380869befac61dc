"""From a worker's crash to the next new chunk: ``python -m bench.crash --rounds 3``.

The worker is killed (SIGKILL) in the middle of a stream, with another one ready; a reader sees how long
the stream stands still. :mod:`bench.recovery` has what is orderly, too. No rival takes over an execution
after seconds: stock arq runs a lost job again once its ``job_timeout`` is over, the others never do.
"""

import signal
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.contest import ALL, OURS, guarded, parser
from bench.figure import Figure, Outcome
from bench.recovery import gaps, system
from bench.table import show

LASTS = 6.0
"""How long the handler works, in s: until well after the next worker is ready."""


class Crashed(NamedTuple):
    """What came of some crashes.

    Attributes:
        lease: How long a worker's right outlives its last renewal, in s: ``MACHPAY_LEASE``.
        gaps_s: From each crash to the next chunk at the reader.
    """

    lease: float
    gaps_s: list[float]


def crash(lease: float, rounds: int) -> Crashed:
    """Kill worker after worker.

    Args:
        lease: ``MACHPAY_LEASE``, in s; 2 is the shortest.
        rounds: How often.
    """
    with system(MACHPAY_LEASE=f"{lease:g}") as running:
        return Crashed(lease, gaps(running, rounds, signal.SIGKILL, LASTS))


def figures(found: Crashed) -> Iterator[Figure]:
    """Describe what came of some crashes."""
    work = f"worker killed, lease {found.lease:g} s"
    yield Figure(work, "next chunk p50", "s", median(found.gaps_s))
    yield Figure(work, "next chunk max", "s", max(found.gaps_s))


def compete(
    names: Sequence[str] = ALL, *, leases: Sequence[float] = (2.0, 10.0), rounds: int = 3
) -> Iterator[Outcome]:
    """Measure ours.

    Args:
        names: Who competes: ours has to be one of them.
        leases: With which leases, one after the other, in s.
        rounds: How often, each time.
    """
    if OURS in names:
        for lease in leases:
            yield from guarded("crash", OURS, lambda lease=lease: figures(crash(lease, rounds)))  # type: ignore[misc]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--leases", type=float, nargs="+", default=[2.0, 10.0])
    options.add_argument("--rounds", type=int, default=3, help="how often, each time")
    given = options.parse_args()
    show(compete(given.targets, leases=given.leases, rounds=given.rounds))


if __name__ == "__main__":
    main()

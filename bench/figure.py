"""One number that was measured, and what stands where there is none."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """A number.

    Attributes:
        work: What was done, with its amount: ``1000 streams``.
        what: What of it: ``p99``.
        unit: ``ms``, ``events/s``, ``KiB``; empty for a count.
        value: The number.
        scenario: Which script measured it: ``live``.
        target: Whose it is, a key of :data:`bench.contest.ENTRANTS`.
    """

    work: str
    what: str
    unit: str
    value: float
    scenario: str = ""
    target: str = ""


class NotRun(msgspec.Struct, frozen=True):
    """Why a target has no figures, or no more of them.

    Attributes:
        scenario: Where.
        target: Whose.
        reason: In a line.
        broke: It began and failed, where others are only not there.
    """

    scenario: str
    target: str
    reason: str
    broke: bool = False


Outcome: TypeAlias = Figure | NotRun


def cpu_figures(work: str, per: str, cpu_us: Mapping[str, float]) -> Iterator[Figure]:
    """Describe what each role of a target used, and all of them together.

    Args:
        work: As in :class:`Figure`.
        per: What it is shared out to: ``event``.
        cpu_us: Role -> CPU time, in µs; ``readers``, which are ours, are left out.
    """
    roles = {role: used for role, used in cpu_us.items() if role != "readers"}
    for role, used in roles.items():
        yield Figure(work, f"CPU {role}", f"µs/{per}", used)
    yield Figure(work, "CPU sum", f"µs/{per}", sum(roles.values()))

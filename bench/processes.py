"""What processes cost: CPU time and memory, as the kernel counts them (Linux)."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_SCHEDULED: Final = 2
"""CPUCLOCK_SCHED of the kernel: user and kernel time of all threads, ended ones too."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """Tell how much CPU time processes have used so far, all threads, user and kernel, in s.

    To the ns, where ``/proc`` counts in ticks of 10 ms, which is what a store needs for a thousand
    events. The clock's id is what clock_getcpuclockid(3) makes of a process id on Linux.
    """
    return sum(time.clock_gettime(~pid << 3 | _SCHEDULED) for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """Tell how much memory processes have in RAM now, in bytes."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in pids)


class CpuMeter:
    """Measures what processes use from its construction on.

    Args:
        pids: Role -> process ids.
    """

    def __init__(self, pids: Mapping[str, list[int]]) -> None:
        self._pids = {**pids, "readers": [os.getpid()]}
        self._before = self._now()

    def used(self) -> dict[str, float]:
        """Tell how much each role has used, and ``readers`` (this process), in s."""
        return {role: now - self._before[role] for role, now in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {role: cpu_seconds(pids) for role, pids in self._pids.items()}

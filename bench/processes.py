"""What processes cost: CPU time and memory, as the kernel counts them (Linux)."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Tell how much CPU time processes have used so far, all threads, user and kernel, in s."""
    used = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += (int(fields[11]) + int(fields[12])) * _TICK
    return used


def resident_bytes(pids: Iterable[int]) -> int:
    """Tell how much memory processes have in RAM now."""
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

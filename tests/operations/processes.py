"""Looking at processes."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended. Nobody may be there to reap it: a zombie has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:  # no /proc here; or it has gone just now, as the next look will show
        return False

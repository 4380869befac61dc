"""Waiting for processes: polled with a deadline, never a fixed sleep."""

import os
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait until a condition holds; fail the test, saying what was awaited, when it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain: {what}"
        time.sleep(0.02)


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

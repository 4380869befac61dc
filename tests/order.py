"""In which order the files of a whole run are run: those that take longest first.

``--dist loadfile`` gives each test process one file after the other. By itself it begins with those
that have most tests, and so the few that take a minute each come last, one behind the other in one
process while the others have nothing left to do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

LONGEST: Final = (
    "node/test_sdk.py",
    "chaos/test_chaos.py",
    "queueing/test_claim_properties.py",
    "queueing/test_lease_properties.py",
    "docs/test_site.py",
    "system/test_faults.py",
    "system/test_drain.py",
    "system/test_interrupts.py",
    "sdk/test_sockets.py",
    "bench/test_scenarios.py",
    "operations/test_system.py",
    "eventlog/test_log_properties.py",
    "pages/test_playground.py",
    "proxies/test_browser.py",
    "proxies/test_starts.py",
    "proxies/test_streams.py",
    "system/test_failover.py",
    "system/test_limits.py",
    "cli/test_interrupts.py",
    "clients/test_clients.py",
    "docs/test_first_skill.py",
)
"""Below ``tests/``, by how long they take alone (``--durations=100`` says). A file that is missing here
costs some seconds at the end, nothing else."""


def rank(tests: Path) -> Callable[[Path], int]:
    """Return a key to sort files by: the longest first, all others as they were.

    Args:
        tests: The folder of all tests.
    """
    ranks = {tests / name: place for place, name in enumerate(LONGEST)}
    return lambda path: ranks.get(path, len(ranks))

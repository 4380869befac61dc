"""The real system: processes from the Procfile, on a real Valkey."""

from collections.abc import Iterator

import httpx
import pytest

from ops.system import System

SKILLS = ",".join(
    f"tests.system.skills:{name}"
    for name in (
        *("count", "impatient", "relay", "plain", "odd", "silent", "flood", "bulky", "tally"),
        *("restarts", "replays", "continues", "fickle", "poison"),
    )
)
SETTINGS = {
    "MACHPAY_SKILLS": SKILLS,
    "MACHPAY_DEFAULT_SKILL": "count",
    "MACHPAY_LEASE": "2",
    "MACHPAY_GRACE": "2",
}


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """One edge and two workers, for all tests that leave them whole."""
    with System(settings=SETTINGS) as running:
        yield running


@pytest.fixture
def http(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.url, timeout=30, trust_env=False) as client:
        yield client

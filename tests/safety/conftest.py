"""One closed system, at its most talkative, on a Valkey where it may do no more than it needs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import redis

from ops.system import System
from ops.valkey import EmbeddedValkey
from tests.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]

KEY, OTHER, OPERATOR = (
    "canary-key-of-alice-0123",
    "canary-key-of-bob-012345",
    "canary-key-of-ops-012345",
)
SIGNER = "canary-signer-of-more-than-thirty-two-characters"
PASSWORD = "canary-password-of-redis"
SKILLS = ("echo", "strict", "fails")

SETTINGS: Final = {
    "MACHPAY_SKILLS": ",".join(f"tests.safety.skills:{name}" for name in SKILLS),
    "MACHPAY_DEFAULT_SKILL": "echo",
    "MACHPAY_API_KEYS": f"alice:{KEY},bob:{OTHER},ops:{OPERATOR}:operator",
    "MACHPAY_TOKEN_SECRET": SIGNER,
    "MACHPAY_LOG_LEVEL": "debug",
    "MACHPAY_MAX_BODY_BYTES": "65536",
    "MACHPAY_LEASE": "2",
    # What the SDK reads in a worker's environment: no skill server may be sent it.
    "MACHPAY_API_KEY": KEY,
}


def acl_of_the_page() -> str:
    """Read the rules of the user that ``docs/security.md`` tells operators to make."""
    page = (ROOT / "docs" / "security.md").read_text()
    found = re.search(r"^    ACL SETUSER machpay (.*?)$", page, re.MULTILINE)
    assert found is not None, "the page has no ACL"
    return found[1].replace(">PASSWORD", f">{PASSWORD}")


@pytest.fixture(scope="session")
def vault() -> Iterator[EmbeddedValkey]:
    """A Valkey with a user for the system; its default user is the test's."""
    with EmbeddedValkey() as valkey:
        with redis.Redis.from_url(valkey.url) as admin:
            admin.execute_command("ACL", "SETUSER", "machpay", *acl_of_the_page().split())
        yield valkey


@pytest.fixture(scope="session")
def admin(vault: EmbeddedValkey) -> Iterator[redis.Redis]:
    """A client of that Valkey that may do anything."""
    with redis.Redis.from_url(vault.url) as client:
        yield client


@pytest.fixture(scope="session")
def guarded(vault: EmbeddedValkey) -> Iterator[System]:
    """An edge and a worker that want keys."""
    url = vault.url.replace("redis://", f"redis://machpay:{PASSWORD}@")
    settings = {**SETTINGS, "MACHPAY_REDIS_URL": url}
    with System(settings=settings, processes={"edge": 1, "worker": 1}) as running:
        with httpx.Client(base_url=running.url, headers=bearer(KEY), trust_env=False) as client:
            wait_until(
                lambda: len(client.get("/v1/skills").json()["skills"]) == len(SKILLS), "skills"
            )
        yield running


@pytest.fixture
def http(guarded: System) -> Iterator[httpx.Client]:
    """A client with a key."""
    with httpx.Client(
        base_url=guarded.url, headers=bearer(KEY), timeout=20, trust_env=False
    ) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    """Make the header that shows a key."""
    return {"Authorization": f"Bearer {key}"}

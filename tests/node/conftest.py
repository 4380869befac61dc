"""One edge and one worker for all that the SDK for Node.js is tested with."""

from collections.abc import Iterator

import pytest

from ops.npm import Node
from ops.system import System
from tests.node.npm import installed

SKILLS = ",".join(f"tests.system.skills:{name}" for name in ("count", "relay", "odd"))


@pytest.fixture
def node() -> Iterator[Node]:
    with installed() as found:
        yield found


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    with System(processes={"edge": 1, "worker": 1}, settings={"MACHPAY_SKILLS": SKILLS}) as running:
        yield running
